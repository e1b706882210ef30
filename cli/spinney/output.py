"""The two ways out: tables and words for people, JSON for programs; complaints go to stderr."""

from __future__ import annotations

import sys
from collections.abc import Iterable

import msgspec
from rich.console import Console, RenderableType

INDENT = 2


def console() -> Console:
    """For people, on stdout; without colours when that is no terminal."""
    return Console(highlight=False)


def print_all(parts: Iterable[RenderableType]) -> None:
    """Show these one after the other."""
    out = console()
    for part in parts:
        out.print(part)


def print_json(content: bytes) -> None:
    """One JSON value for programs, indented, and nothing else on stdout."""
    sys.stdout.write(msgspec.json.format(content, indent=INDENT).decode() + "\n")


def print_json_line(content: bytes) -> None:
    """One JSON value on one line, at once: for streams."""
    sys.stdout.write(msgspec.json.format(content, indent=0).decode().replace("\n", " ") + "\n")
    sys.stdout.flush()
