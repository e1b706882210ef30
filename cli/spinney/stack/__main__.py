"""`python -m spinney.stack up|down|fetch`: the local stack without the rest of the command.

`fetch` downloads what Debian does not have, so that a later start needs no network.
"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

import anyio
import anyio.to_thread

from .embedded import find_mongod
from .errors import StackError
from .settings import DEFAULT_STATE_DIR
from .up import down, up


async def fetch(_: Path) -> None:
    """Download the embedded mongod, unless there is one. Raises StackError."""
    await anyio.to_thread.run_sync(find_mongod)


def main(arguments: list[str]) -> int:
    """Do what the first argument says, in the state folder that the second one names; returns the exit status."""
    verbs = {"up": up, "down": down, "fetch": fetch}
    if not 1 <= len(arguments) <= 2 or arguments[0] not in verbs:
        sys.stderr.write("usage: python -m spinney.stack up|down|fetch [STATE-FOLDER]\n")
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
