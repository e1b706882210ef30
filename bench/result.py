"""What a benchmark says: one figure, beside what it is compared with and what it should be; as a table and as JSON."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from msgspec import Struct
from rich.table import Table

RESULTS = Path(__file__).parent / "results.json"


class Result(Struct, frozen=True, kw_only=True):
    """One measured figure."""

    name: str
    value: float
    unit: str
    against: str = ""
    """What it is compared with, in words; empty = nothing."""
    against_value: float | None = None
    """In the same unit."""
    ratio: float | None = None
    """value / against_value."""
    aim: str = ""
    """In words; empty = told for information."""
    met: bool | None = None
    machine: str = ""
    date: str = ""


def at_most(name: str, value: float, unit: str, limit: float) -> Result:
    """A figure that should not exceed a limit."""
    return Result(name=name, value=value, unit=unit, aim=f"≤ {limit:g} {unit}", met=value <= limit)


def at_least(name: str, value: float, unit: str, limit: float) -> Result:
    """A figure that should reach a limit."""
    return Result(name=name, value=value, unit=unit, aim=f"≥ {limit:g} {unit}", met=value >= limit)


def compared(name: str, value: float, unit: str, against: str, against_value: float, most: float) -> Result:
    """A figure whose ratio to another one should not exceed a limit."""
    ratio = value / against_value
    return Result(
        name=name,
        value=value,
        unit=unit,
        against=against,
        against_value=against_value,
        ratio=ratio,
        aim=f"ratio ≤ {most:g}",
        met=ratio <= most,
    )


def machine() -> str:
    """This machine, as far as figures depend on it."""
    kernel = re.match(r"\d+\.\d+", platform.release())
    system = platform.freedesktop_os_release()
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"{os.cpu_count()} cores, {memory_gib:.0f} GiB, {system['NAME'].split()[0]} {system['VERSION_ID']}, "
        f"kernel {kernel[0] if kernel else platform.release()}, Python {platform.python_version()}"
    )


def save(results: Sequence[Result]) -> list[Result]:
    """Write the results into results.json, over earlier ones of the same names; returns them as written."""
    stamp, here = datetime.now(UTC).isoformat(timespec="seconds"), machine()
    stamped = [msgspec.structs.replace(result, machine=here, date=stamp) for result in results]
    earlier = msgspec.json.decode(RESULTS.read_bytes(), type=list[Result]) if RESULTS.exists() else []
    merged = {result.name: result for result in (*earlier, *stamped)}
    RESULTS.write_bytes(msgspec.json.format(msgspec.json.encode(list(merged.values()))) + b"\n")
    return stamped


def table(results: Iterable[Result]) -> Table:
    """For people."""
    shown = Table("figure", "value", "against", "ratio", "aim", "met")
    for result in results:
        shown.add_row(
            result.name,
            f"{result.value:.4g} {result.unit}",
            "" if result.against_value is None else f"{result.against_value:.4g} {result.unit} ({result.against})",
            "" if result.ratio is None else f"{result.ratio:.2f}",
            result.aim,
            {None: "", True: "yes", False: "no"}[result.met],
        )
    return shown
