"""What the fields of an SLA document may say, beyond their shape: runtimes, ports, architectures, addresses.

Each check yields ``(path below the value, what is wrong)``; see `spinney_root.sla.collect`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import Any, Final

from spinney_shared.model import DEFAULT_RUNTIME, PortMapping

from .collect import did_you_mean, quoted

Wrong = Iterator[tuple[str, str]]

RUNTIME_WORDS: Final = {
    "container": DEFAULT_RUNTIME,
    "docker": DEFAULT_RUNTIME,
    "unikernel": "unikraft",
    "unikraft": "unikraft",
}
"""Words with a meaning of their own; any other word is the name of a runtime."""

RETIRED: Final = {
    "runv": "runV became Kata Containers: use kata",
    "hyperd": "hyperd became Kata Containers: use kata",
    "clearcontainers": "Clear Containers became Kata Containers: use kata",
    "cc-runtime": "Clear Containers became Kata Containers: use kata",
    "rkt": "rkt was retired: use runc or crun, or kata where rkt ran virtual machines",
    "dockershim": "dockershim left Kubernetes in 1.24: use docker or container",
    "frakti": "frakti became Kata Containers under containerd: use kata",
    "mesos": "Mesos was retired, and its containerizer with it: use container",
    "openvz": "OpenVZ needs a kernel of its own: use lxc",
}

GOARCH: Final = ["386", "amd64", "arm", "arm64", "loong64", "mips64le", "ppc64le", "riscv64", "s390x"]
_OTHER_NAMES: Final = {
    "x86_64": "amd64",
    "x86-64": "amd64",
    "x64": "amd64",
    "aarch64": "arm64",
    "armv8": "arm64",
    "armv7": "arm",
    "armhf": "arm",
    "i386": "386",
    "i686": "386",
}

MAX_PORTS: Final = 100
"""Published ports of one microservice."""

_PORT: Final = re.compile(r"(?P<host>\d{1,5})(:(?P<container>\d{1,5}))?(/(?P<protocol>tcp|udp))?", re.IGNORECASE)
_MAX_PORT: Final = 65535

SERVICE_V4: Final = IPv4Network("10.30.0.0/16")
SERVICE_V6: Final = IPv6Network("fdff:2000::/21")


def not_yet(what: str) -> Callable[[Any], Wrong]:
    """A check for what this version cannot do: empty is fine, anything else is refused rather than ignored."""

    def check(value: Any) -> Wrong:
        asked = any(value.values()) if isinstance(value, dict) else bool(value)
        if asked:
            yield "", f"this version of Spinney cannot do {what} yet; leave it out or empty"

    return check


def runtime(value: str) -> Wrong:
    """A ``virtualization`` word: retired names answer with their successor."""
    successor = RETIRED.get(re.sub(r"[ _]", "", value.lower()))
    if successor:
        yield "", f"{quoted(value)} cannot be used: {successor}"


def runtime_of(word: str) -> str:
    """The runtime that a ``virtualization`` word names."""
    return RUNTIME_WORDS.get(word.lower(), word)


def ports(value: str) -> Wrong:
    """``host[:container][/proto]``, separated by ``;``."""
    entries = _entries(value)
    if len(entries) > MAX_PORTS:
        yield "", f"has {len(entries):,} ports; at most {MAX_PORTS} are taken"
        return
    seen: set[tuple[int, str]] = set()
    for entry in entries:
        port = _port(entry)
        if isinstance(port, str):
            yield "", port
        elif (port.host, port.protocol) in seen:
            yield "", f"publishes port {port.host}/{port.protocol} of the node twice"
        else:
            seen.add((port.host, port.protocol))


def ports_of(value: str) -> tuple[PortMapping, ...]:
    """The mappings of a text that passed `ports`."""
    return tuple(port for entry in _entries(value) if isinstance(port := _port(entry), PortMapping))


def _entries(value: str) -> list[str]:
    return [entry.strip() for entry in value.split(";") if entry.strip()]


def _port(entry: str) -> PortMapping | str:
    found = _PORT.fullmatch(entry)
    if not found or not entry.isascii():
        return f"{quoted(entry)} is no port: write host[:container][/tcp or /udp], several separated by ;"
    host = int(found["host"])
    container = int(found["container"] or host)
    if not (0 < host <= _MAX_PORT and 0 < container <= _MAX_PORT):
        return f"{quoted(entry)} is no port: ports go from 1 to {_MAX_PORT}"
    udp = (found["protocol"] or "tcp").lower() == "udp"
    return PortMapping(host, container, "udp" if udp else "tcp")


def architecture(value: str) -> Wrong:
    """A GOARCH name, as image registries use them."""
    if value not in GOARCH:
        other = _OTHER_NAMES.get(value.lower())
        guess = f'; did you mean "{other}"?' if other else did_you_mean(value, GOARCH)
        yield "", f"unknown architecture {quoted(value)}; known are {', '.join(GOARCH)}{guess}"


def platform(value: str) -> Wrong:
    """``arch`` or ``linux/arch``; empty = any."""
    if value:
        yield from architecture(architecture_of(value))


def architecture_of(value: str) -> str:
    """The architecture of a platform."""
    return value.removeprefix("linux/")


def address(version: int, network: IPv4Network | IPv6Network | None = None) -> Callable[[Any], Wrong]:
    """A check for an IP address of this version, inside `network` when one is given; empty is fine."""

    def check(value: str) -> Wrong:
        if not value:
            return
        try:
            found = ip_address(value)
        except ValueError:
            yield "", f"{quoted(value)} is no IPv{version} address"
            return
        if found.version != version:
            yield "", f"{quoted(value)} is no IPv{version} address"
        elif network is not None and found not in network:
            yield "", f"{value} is outside of the addresses of services, {network}"

    return check


def constraints(value: list[Any]) -> Wrong:
    """Constraints that this version cannot hold are refused: a promise that is ignored is worse than none."""
    for index, item in enumerate(value):
        kind = item.get("type") if isinstance(item, dict) else None
        if kind in ("geo", "latency") or (kind == "addons" and item.get("needs")):
            yield f"[{index}]", f"this version of Spinney cannot hold constraints of the type {kind} yet; leave it out"


def disconnect(value: dict[str, Any]) -> Wrong:
    """A node that returns always finds its instances replaced: nothing else can be promised yet."""
    if value.get("reconcile") == "keep_original":
        yield ".reconcile", "this version of Spinney always keeps the replacement; leave it out"


def unique(what: str, *fields: str) -> Callable[[Any], Wrong]:
    """A check for a list of objects: no two have the same `fields`."""

    def check(value: list[Any]) -> Wrong:
        seen: dict[str, int] = {}
        for index, item in enumerate(value):
            names = [item.get(field) for field in fields] if isinstance(item, dict) else []
            words = [name for name in names if isinstance(name, str)]
            if len(words) < len(fields):
                continue  # its shape is wrong, which has been said
            name = ".".join(words)
            first = seen.setdefault(name, index)
            if first != index:
                yield f"[{index}]", f"{what} {quoted(name)} stands here twice, first as number {first}"

    return check
