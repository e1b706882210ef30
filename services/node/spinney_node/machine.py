"""What the operating system says of this machine: capacity, architecture, identity, load."""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import socket
from pathlib import Path

from msgspec import Struct
from spinney_shared.messages import Usage
from spinney_shared.model import Resources

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "riscv64": "riscv64", "i686": "386"}

UNLIMITED_MBIT = 1_000_000
"""Bandwidth is reserved only where an operator says what there is; until then nothing is refused for it."""


def architecture() -> str:
    """In Go's words, as image indexes have it: amd64, arm64 …"""
    machine = platform.machine()
    return _ARCHITECTURES.get(machine, machine)


def host_name() -> str:
    """What people call this machine."""
    return socket.gethostname().split(".")[0]


def capacity(state_dir: Path) -> Resources:
    """All of the machine's memory, processors and the free disk below `state_dir`."""
    return Resources(
        memory_mib=_meminfo("MemTotal") // 1024,
        cpu_milli=(os.cpu_count() or 1) * 1000,
        storage_mib=shutil.disk_usage(state_dir).free // 2**20,
        in_mbit=UNLIMITED_MBIT,
        out_mbit=UNLIMITED_MBIT,
    )


def fingerprint(root: Path = Path("/")) -> str:
    """The same on every call on this machine, another on a machine that got a copy of its disk.

    A copied image brings /etc/machine-id along, so the board's id is mixed in; where a board has none, the hardware
    addresses of its real network cards (those of bridges and containers come and go).
    """
    board = _read(root / "sys/class/dmi/id/product_uuid") or _read(root / "sys/firmware/devicetree/base/serial-number")
    cards = sorted(_read(card.parent / "address") for card in root.glob("sys/class/net/*/device"))
    parts = [_read(root / "etc/machine-id"), board or " ".join(cards)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]


class Sample(Struct, frozen=True):
    """Processor time since boot, to be compared with a later one; in ticks."""

    busy: int
    total: int


def sample() -> Sample:
    """Processor time until now."""
    fields = [int(word) for word in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    idle = fields[3] + fields[4]
    return Sample(busy=sum(fields) - idle, total=sum(fields))


def usage(before: Sample, after: Sample) -> Usage:
    """The load between two samples, and the memory in use now."""
    total, available = _meminfo("MemTotal"), _meminfo("MemAvailable")
    return Usage(
        cpu_percent=round(100 * (after.busy - before.busy) / max(after.total - before.total, 1), 1),
        memory_percent=round(100 * (total - available) / total, 1),
        memory_mib=(total - available) // 1024,
    )


def _meminfo(name: str) -> int:
    """In KiB."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1])
    raise ValueError(f"/proc/meminfo has no {name}")


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""  # not every machine has it; the other parts still tell it apart
