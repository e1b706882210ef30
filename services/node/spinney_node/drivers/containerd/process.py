"""Runs a helper program with a deadline; never through a shell."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final

from msgspec import Struct

from .. import DriverError

TIMEOUT_S: Final = 20.0


class Done(Struct, frozen=True):
    """What a program that ended left."""

    code: int
    out: bytes
    err: bytes


async def run(arguments: Sequence[str], *, stdin: bytes = b"", environment: Mapping[str, str] | None = None) -> Done:
    """Run to the end; raises DriverError when it cannot be started or takes too long (then it is killed)."""
    try:
        process = await asyncio.create_subprocess_exec(
            *arguments,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=environment,
        )
    except OSError as e:
        raise DriverError(f"{arguments[0]} cannot be started: {e.strerror or e}") from e
    try:
        out, err = await asyncio.wait_for(process.communicate(stdin), TIMEOUT_S)
    except BaseException as e:
        if process.returncode is None:
            process.kill()
            await process.wait()
        if isinstance(e, TimeoutError):
            raise DriverError(f"{arguments[0]} did not finish within {TIMEOUT_S:g} s") from e
        raise
    return Done(process.returncode or 0, out, err)
