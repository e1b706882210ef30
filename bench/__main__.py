"""``python -m bench [--only NAME]``: measure, print a table, write results.json."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Callable, Coroutine

from rich.console import Console
from spinney.stack.errors import StackError

from . import burst, footprint, latency
from .result import Result, save, table

Measure = Callable[[Callable[[str], None]], Coroutine[None, None, list[Result]]]

BENCHMARKS: dict[str, Measure] = {
    "latency": latency.measure,
    "footprint": footprint.measure,
    "burst": burst.measure,
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--only", choices=sorted(BENCHMARKS), help="just this one")
    only = parser.parse_args().only
    console = Console()
    results: list[Result] = []
    for name, measure in BENCHMARKS.items():
        if only in (None, name):
            console.print(f"[bold]{name}[/]: {sys.modules[measure.__module__].__doc__}")
            try:
                results += asyncio.run(measure(lambda words: console.print(f"  {words}")))
            except (StackError, TimeoutError) as error:
                console.print(f"{name} could not be measured: {error}", style="red", markup=False)
                return 1
    console.print(table(save(results)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
