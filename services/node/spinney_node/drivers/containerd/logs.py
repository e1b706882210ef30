"""What containers print: one file each, stdout and stderr together, written by the shim and read from its end."""

from __future__ import annotations

from pathlib import Path


def tail(file: Path, most: int) -> bytes:
    """The last `most` bytes; empty when there is no such file."""
    try:
        with file.open("rb") as f:
            size = f.seek(0, 2)
            f.seek(max(0, size - most))
            return f.read(max(0, most))
    except FileNotFoundError:
        return b""
