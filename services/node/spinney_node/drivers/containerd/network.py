"""The containers' network: one bridge on this machine, an address for each container, a way out.

A container's interface disappears with its network namespace; what has to be taken back is its address and its
published ports. Addresses nobody uses are swept when the driver starts.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import struct
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Final

import msgspec
from spinney_shared.model import PortMapping

from .. import DriverError
from . import cni
from .containers import STALE_S
from .process import run
from .settings import Settings

log = logging.getLogger(__name__)

_ROUTES: Final = Path("/proc/net/route")


def overlapping(routes: str, subnet: ipaddress.IPv4Network, bridge: str) -> str:
    """The first route of /proc/net/route that `subnet` would collide with, as ``10.0.0.0/8 on eth0``; "" = free."""
    for line in routes.splitlines()[1:]:
        fields = line.split()
        if len(fields) < 8 or fields[0] == bridge:
            continue
        destination, mask = (struct.pack("<I", int(fields[n], 16)) for n in (1, 7))
        network = ipaddress.IPv4Network((destination, str(ipaddress.IPv4Address(mask))))
        if network.prefixlen and network.overlaps(subnet):
            return f"{network} on {fields[0]}"
    return ""


def masquerade(table: str, subnet: str) -> str:
    """nftables rules, as one transaction, that let `subnet` out under this machine's addresses."""
    return (
        f"add table ip {table}\ndelete table ip {table}\n"
        f"table ip {table} {{\n"
        "  chain postrouting {\n"
        "    type nat hook postrouting priority 100; policy accept;\n"
        f"    ip saddr {subnet} ip daddr != {subnet} masquerade\n"
        "  }\n"
        "}\n"
    )


class Network:
    """The bridge of one driver."""

    def __init__(self, settings: Settings) -> None:
        self._bridge, self._subnet, self._plugins = settings.bridge, settings.subnet, settings.cni_dir
        self._reservations = str(Path(settings.run_dir) / "networks")
        self._published = Path(self._reservations) / ".published"
        """What each container publishes: the plugin takes back nothing that it is not told of."""
        self._owner = settings.run_dir
        self._conf = cni.bridge_conf(self._bridge, self._subnet, self._reservations)

    async def prepare(self, living: Collection[str]) -> None:
        """Make bridge and address translation, and free what containers other than `living` left.

        Raises DriverError when the subnet is in use or the bridge is another driver's.
        """
        routes = await asyncio.to_thread(_ROUTES.read_text)
        if clash := overlapping(routes, ipaddress.IPv4Network(self._subnet), self._bridge):
            raise DriverError(f"subnet {self._subnet} of the containers' network overlaps {clash}: choose another")
        await self._own_bridge()
        table = f"spinney_{self._bridge.replace('-', '_').replace('.', '_')}"
        done = await run(["nft", "-f", "-"], stdin=masquerade(table, self._subnet).encode())
        if done.code:
            words = done.err.decode(errors="replace").strip()[-300:]
            log.warning("containers cannot reach beyond this machine: nft refused the masquerade rule: %s", words)
        for id in set(await cni.reserved(self._reservations, self._bridge, older_than_s=STALE_S)) - set(living):
            await self.detach(id)

    async def attach(self, id: str, netns: str, ports: Sequence[PortMapping]) -> str:
        """Give the namespace its interface and publish `ports`; the address. Raises DriverError."""
        result = await cni.call(self._plugins, "ADD", self._conf, id, netns)
        if ports:
            conf = cni.portmap_conf(self._bridge, ports, before=msgspec.Raw(result))
            await asyncio.to_thread(_write, self._published / id, msgspec.json.encode(ports))
            await cni.call(self._plugins, "ADD", conf, id, netns)
        return cni.address(result)

    async def detach(self, id: str) -> None:
        """Take back address and ports; fine when there are none."""
        if id not in await self.addresses():  # the address is taken first and given back last
            return
        if published := await asyncio.to_thread(_read, self._published / id):
            ports = msgspec.json.decode(published, type=list[PortMapping])
            await cni.call(self._plugins, "DEL", cni.portmap_conf(self._bridge, ports), id, "")
            await asyncio.to_thread((self._published / id).unlink)
        await cni.call(self._plugins, "DEL", self._conf, id, "")

    async def addresses(self) -> dict[str, str]:
        """Container id → address, of every container that has one."""
        return await cni.reserved(self._reservations, self._bridge)

    async def _own_bridge(self) -> None:
        alias = Path("/sys/class/net") / self._bridge / "ifalias"
        if not alias.exists():
            made = await run(["ip", "link", "add", self._bridge, "type", "bridge"])
            if made.code:
                raise DriverError(f"bridge {self._bridge}: {made.err.decode(errors='replace').strip()}")
            await run(["ip", "link", "set", self._bridge, "alias", self._owner])
        owner = (await asyncio.to_thread(alias.read_text)).strip()
        if owner != self._owner:
            whose = f"belongs to the driver with run_dir {owner}" if owner else "is not ours"
            raise DriverError(f"bridge {self._bridge} {whose}: choose another")


def _write(file: Path, data: bytes) -> None:
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    file.write_bytes(data)


def _read(file: Path) -> bytes:
    return file.read_bytes() if file.exists() else b""
