"""CNI plugins: small programs that give a network namespace its interface, called as the CNI specification says."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import Struct
from spinney_shared.model import PortMapping

from .. import DriverError
from .process import run

CNI_VERSION: Final = "0.4.0"
INTERFACE: Final = "eth0"


class _Ip(Struct):
    address: str


class _Result(Struct):
    ips: list[_Ip] = []


class _Failure(Struct):
    msg: str = ""
    details: str = ""


def bridge_conf(bridge: str, subnet: str, reservations: str) -> dict[str, Any]:
    """Configuration of the bridge plugin; addresses are reserved as files below ``reservations``/``bridge``."""
    return {
        "cniVersion": CNI_VERSION,
        "name": bridge,
        "type": "bridge",
        "bridge": bridge,
        "isGateway": True,
        "ipam": {
            "type": "host-local",
            "dataDir": reservations,
            "ranges": [[{"subnet": subnet}]],
            "routes": [{"dst": "0.0.0.0/0"}],
        },
    }


def portmap_conf(bridge: str, ports: Sequence[PortMapping], before: Any = None) -> dict[str, Any]:
    """Configuration of the portmap plugin; `before` is what the bridge plugin answered."""
    mappings = [{"hostPort": p.host, "containerPort": p.container, "protocol": p.protocol} for p in ports]
    conf: dict[str, Any] = {
        "cniVersion": CNI_VERSION,
        "name": bridge,
        "type": "portmap",
        "snat": True,
        "capabilities": {"portMappings": True},
        "runtimeConfig": {"portMappings": mappings},
    }
    return conf if before is None else {**conf, "prevResult": before}


async def call(plugin_dir: str, command: str, conf: dict[str, Any], id: str, netns: str) -> bytes:
    """Run the plugin that `conf` names; what it answered. Raises DriverError with the plugin's own words."""
    environment = {
        "CNI_COMMAND": command,
        "CNI_CONTAINERID": id,
        "CNI_NETNS": netns,
        "CNI_IFNAME": INTERFACE,
        "CNI_PATH": plugin_dir,
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
    }
    program = str(Path(plugin_dir) / conf["type"])
    done = await run([program], stdin=msgspec.json.encode(conf), environment=environment)
    if done.code:
        raise DriverError(f"network of {id}: {conf['type']} {command}: {_words(done.out, done.err)}")
    return done.out


def address(result: bytes) -> str:
    """The first IP address in a plugin's answer, without the prefix length; raises DriverError."""
    try:
        ips = msgspec.json.decode(result, type=_Result).ips
    except msgspec.DecodeError as e:
        raise DriverError(f"the CNI plugin's answer cannot be read: {e}") from e
    if not ips:
        raise DriverError("the CNI plugin gave no address")
    return ips[0].address.partition("/")[0]


def _words(out: bytes, err: bytes) -> str:
    try:
        failure = msgspec.json.decode(out, type=_Failure)
    except msgspec.DecodeError:
        return err.decode(errors="replace").strip()[-500:] or "failed without a word"
    return f"{failure.msg} {failure.details}".strip()


async def reserved(reservations: str, bridge: str, older_than_s: float = 0.0) -> dict[str, str]:
    """Container id → its address, from host-local's files; only those made so many seconds ago."""
    return await asyncio.to_thread(_reserved, Path(reservations) / bridge, time.time() - older_than_s)


def _reserved(folder: Path, made_until: float) -> dict[str, str]:
    found: dict[str, str] = {}
    for file in folder.glob("*.*.*.*") if folder.is_dir() else ():
        try:
            if file.stat().st_mtime <= made_until:
                found[file.read_text().split(maxsplit=1)[0]] = file.name
        except (OSError, IndexError):  # being made or removed at this moment
            continue
    return found
