"""What can go wrong with the local stack; the text says what to do next."""

from __future__ import annotations

from pathlib import Path


class StackError(Exception):
    """The local stack, or a part of it, could not do what was asked. The text is for people."""


class ProgramMissing(StackError):
    """A program the stack needs is not installed."""

    def __init__(self, program: str, package: str) -> None:
        super().__init__(f"{program} is not installed; `make setup` installs it (Debian package {package})")
        self.program = program


class DiedEarly(StackError):
    """A process ended before it was ready; carries the last lines of its log."""

    def __init__(self, name: str, code: int, log: Path, tail: str) -> None:
        how = f"was killed by signal {-code}" if code < 0 else f"ended with status {code}"
        super().__init__(f"{name} {how} before it was ready. Its last words, from {log}:\n{tail}")
        self.name, self.code, self.log, self.tail = name, code, log, tail


class NotReady(StackError):
    """A process runs but did not become ready in time; carries the last lines of its log."""

    def __init__(self, name: str, limit_s: float, log: Path, tail: str) -> None:
        super().__init__(f"{name} was not ready after {limit_s:g} s. Its last words, from {log}:\n{tail}")
        self.name, self.log, self.tail = name, log, tail


class AlreadyRunning(StackError):
    """Another process runs a stack in this state folder."""

    def __init__(self, folder: Path) -> None:
        super().__init__(f"a stack already runs in {folder}; end it with `make down`, or give another --state-dir")
