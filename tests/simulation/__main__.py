"""Many seeds from the command line: ``python -m tests.simulation --seeds 100000`` or ``--seed 42`` to replay one."""

from __future__ import annotations

import argparse
import concurrent.futures
import os
import sys
import time

from .planted import PLANTED
from .planted import planted as plant
from .scenario import Scenario, Violation


def run_one(seed: int, planted: str = "") -> str:
    """Empty, or what went wrong."""
    try:
        with plant(planted):
            Scenario(seed, planted).run()
    except Violation as violation:
        return str(violation)
    except Exception as error:
        return f"{type(error).__name__}: {error}\n  replay: python -m tests.simulation --seed {seed}"
    return ""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation")
    parser.add_argument("--seeds", type=int, default=500)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seed", type=int, help="only this one, with its traceback")
    parser.add_argument("--planted", default="", choices=["", *PLANTED], help="a bug to plant on purpose")
    options = parser.parse_args()
    if options.seed is not None:
        with plant(options.planted):
            Scenario(options.seed, options.planted).run()
        print(f"seed {options.seed}: all invariants hold")
        return 0
    begun, failed, done = time.monotonic(), 0, 0
    seeds = range(options.first, options.first + options.seeds)
    with concurrent.futures.ProcessPoolExecutor(os.cpu_count()) as pool:
        for problem in pool.map(run_one, seeds, [options.planted] * len(seeds), chunksize=20):
            done += 1
            if problem:
                failed += 1
                print(problem)
            if done % 1000 == 0:
                print(f"{done} of {len(seeds)} seeds, {failed} failed, {time.monotonic() - begun:.0f} s", flush=True)
    print(f"{done} seeds, {failed} failed, {time.monotonic() - begun:.0f} s")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
