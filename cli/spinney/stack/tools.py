"""Programs that are run to their end: found by name, bounded in time, their failures in words."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping, Sequence

from .errors import ProgramMissing, StackError
from .settings import inherited_environment

_LIMIT_S = 20.0


def program(name: str, package: str) -> str:
    """The full path of a program. Raises ProgramMissing, with the Debian package that has it."""
    found = shutil.which(name, path=inherited_environment()["PATH"])
    if found is None:
        raise ProgramMissing(name, package)
    return found


def run(
    command: Sequence[str],
    *,
    given: str = "",
    environment: Mapping[str, str] | None = None,
    limit_s: float = _LIMIT_S,
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end, with `given` on its standard input. The exit status is the caller's to judge.

    Raises StackError when it cannot be started, or does not end in time (then it is killed).
    """
    told = inherited_environment() if environment is None else environment
    try:
        return subprocess.run(
            command, input=given, env=told, capture_output=True, text=True, timeout=limit_s, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise StackError(f"{command[0]} did not end within {limit_s:g} s") from error
    except OSError as error:
        raise StackError(f"{command[0]} cannot be run: {error.strerror}") from error
