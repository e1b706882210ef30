"""The demonstration as a story: numbered steps, what goes on in each, how each ended, and how long it took.

On a terminal the present moment is a moving line; in a file it is a line for each change.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from spinney.errors import CommandError
from spinney.progress import Progress
from spinney.render import seconds, table
from spinney.stack import StackError

from .errors import DemoFailed

WIDTH = 80
_INDENT = "   "


class Step:
    """One step under way."""

    def __init__(self, out: Console, progress: Progress) -> None:
        self._out, self._progress = out, progress
        self._noted = ""
        self.result = ""
        """How it ended, in words; set by the end of the step."""

    def note(self, words: str) -> None:
        """Something that is worth a line of its own."""
        self._noted = words
        self._out.print(
            Padding(Text(words, "dim", overflow="fold"), (0, 0, 0, len(_INDENT)), expand=False), width=_width(self._out)
        )

    def change(self, words: str) -> None:
        """A note, unless it was the last one already."""
        if words != self._noted:
            self.note(words)

    def show(self, words: str) -> None:
        """What is going on now."""
        self._progress.show(_INDENT + words)


class Steps:
    """All steps so far."""

    def __init__(self, out: Console, logs: Path) -> None:
        self.out, self._logs = out, logs
        self.took: list[tuple[str, float]] = []
        """Title and seconds of the finished ones."""

    @contextmanager
    def step(self, title: str) -> Iterator[Step]:
        """Tell one step. Raises DemoFailed for whatever the stack or the root refuse in it."""
        self.out.print(Text(f"{len(self.took) + 1:>2} {title}", "bold"))
        begun = time.monotonic()
        try:
            with Progress(self.out, f"{_INDENT}{title}") as progress:
                step = Step(self.out, progress)
                yield step
        except (CommandError, StackError) as error:
            self._end("✗", "red", "failed", time.monotonic() - begun)
            raise DemoFailed(title, error, self._logs) from error
        took_s = time.monotonic() - begun
        self.took.append((title, took_s))
        self._end("✓", "green", step.result, took_s)

    def table(self) -> Table:
        """The finished steps with the time each took."""
        made = table("Time", "step", "took", right=("took",))
        for title, took_s in self.took:
            made.add_row(title, seconds(took_s))
        made.add_section()
        made.add_row("all steps", seconds(sum(took_s for _, took_s in self.took)))
        return made

    def _end(self, mark: str, colour: str, words: str, took_s: float) -> None:
        line = Table.grid(expand=True, padding=(0, 1))
        line.add_column(width=2, justify="right")
        line.add_column(ratio=1, overflow="fold")
        line.add_column(justify="right", no_wrap=True)
        line.add_row(Text(mark, colour), Text(words), Text(seconds(took_s), "bold"))
        self.out.print(line, width=_width(self.out))


def _width(out: Console) -> int:
    return min(WIDTH, out.width)
