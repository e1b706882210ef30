"""Visible progress: a moving line on a terminal, one line for each change in a file."""

from __future__ import annotations

from types import TracebackType

from rich.console import Console
from rich.status import Status


class Progress:
    """Shows what is going on now. Use it as a context manager."""

    def __init__(self, out: Console, words: str = "") -> None:
        self._out, self._words = out, words
        self._status: Status | None = out.status(words) if out.is_terminal else None

    def show(self, words: str) -> None:
        """This is going on now."""
        if self._status is not None:
            self._status.update(words)
        elif words != self._words:
            self._out.print(words, style="dim", markup=False)
        self._words = words

    def __enter__(self) -> Progress:
        if self._status is not None:
            self._status.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._status is not None:
            self._status.stop()
