"""What can go wrong between this command and a root; every text says what to do next."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .shapes import Problem


class CommandError(Exception):
    """The command could not do what was asked: exit status 1. The text is for people."""


class RootUnreachable(CommandError):
    """Nobody answers at the root's address."""

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(
            f"root not reachable at {url} ({reason}): is the stack up? Try `spinney up`, or give another --url."
        )


class NotLoggedIn(CommandError):
    """There is no login for this root, or the root does not take it."""

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(
            f"not logged in at {url}: {reason}. Try `spinney login`, or name a file with the password "
            "(--password-file or SPINNEY_PASSWORD_FILE)."
        )


class Refused(CommandError):
    """The root does not do it: why, and each problem with its path. `status` is that of HTTP."""

    def __init__(self, status: int, message: str, problems: Sequence[Problem] = ()) -> None:
        listed = [f"  {problem.path}: {problem.message}" for problem in problems]
        super().__init__("\n".join([message, *listed]))
        self.status, self.problems = status, tuple(problems)


class NoSuchName(CommandError):
    """A name fits nothing, or more than one thing."""

    def __init__(self, kind: str, name: str, fitting: Sequence[str], known: Sequence[str]) -> None:
        if fitting:
            words = f"{name!r} fits more than one {kind}: {', '.join(fitting)}. Use one of these names, or an id."
        elif known:
            words = f"there is no {kind} {name!r}. There are: {', '.join(known)}."
        else:
            words = f"there is no {kind} {name!r}, and no other. `spinney deploy FILE` makes some."
        super().__init__(words)
        self.fitting = tuple(fitting)
