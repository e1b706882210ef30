"""What a benchmark says: one figure, beside what it is compared with and what it should be; as a table and as JSON."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Collection, Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from msgspec import Struct
from rich.table import Table

RESULTS = Path(__file__).parent / "results.json"
README = Path(__file__).parent / "README.md"


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
    """Write the results into results.json, in place of earlier ones of the same benchmarks; returns them as written."""
    stamp, here = datetime.now(UTC).isoformat(timespec="seconds"), machine()
    stamped = [msgspec.structs.replace(result, machine=here, date=stamp) for result in results]
    earlier = msgspec.json.decode(RESULTS.read_bytes(), type=list[Result]) if RESULTS.exists() else []
    measured = {_benchmark(result) for result in stamped}
    merged = sorted([*(r for r in earlier if _benchmark(r) not in measured), *stamped], key=_benchmark)
    RESULTS.write_bytes(msgspec.json.format(msgspec.json.encode(merged)) + b"\n")
    _show_in_readme(merged)
    return stamped


def _benchmark(result: Result) -> str:
    return result.name.partition(":")[0]


COLUMNS = ("figure", "value", "against", "ratio", "aim", "met")


def table(results: Iterable[Result]) -> Table:
    """For people."""
    shown = Table(*COLUMNS)
    for result in results:
        shown.add_row(*_cells(result))
    return shown


def _cells(result: Result) -> tuple[str, ...]:
    """One row, in the order of `COLUMNS`."""
    return (
        result.name,
        f"{_short(result.value)} {result.unit}",
        "" if result.against_value is None else f"{_short(result.against_value)} {result.unit} ({result.against})",
        "" if result.ratio is None else f"{result.ratio:.2f}",
        result.aim,
        {None: "", True: "yes", False: "no"}[result.met],
    )


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def _show_in_readme(results: Collection[Result]) -> None:
    """Put all results, with machine and date, between the two marks in README.md."""
    begin, end = "<!-- table: written by `make bench` -->\n", "<!-- end of table -->"
    before, _, rest = README.read_text().partition(begin)
    rows = [COLUMNS, ("---",) * len(COLUMNS), *(_cells(result) for result in results)]
    lines = [f"| {' | '.join(row)} |" for row in rows]
    where = sorted({f"{result.machine}; {result.date[:10]}" for result in results})
    text = "\n".join([*lines, "", *(f"Machine: {one}." for one in where)])
    README.write_text(f"{before}{begin}{text}\n{end}{rest.partition(end)[2]}")
