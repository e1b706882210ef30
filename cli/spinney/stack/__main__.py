"""`python -m spinney.stack up|down`: the local stack without the rest of the command."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

import anyio

from .errors import StackError
from .settings import DEFAULT_STATE_DIR
from .up import down, up


def main(arguments: list[str]) -> int:
    """Do what the first argument says, in the state folder that the second one names; returns the exit status."""
    verbs = {"up": up, "down": down}
    if not 1 <= len(arguments) <= 2 or arguments[0] not in verbs:
        sys.stderr.write("usage: python -m spinney.stack up|down [STATE-FOLDER]\n")
        return 2
    state_dir = Path(arguments[1]) if len(arguments) == 2 else DEFAULT_STATE_DIR
    try:
        anyio.run(partial(verbs[arguments[0]], state_dir))
    except StackError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
