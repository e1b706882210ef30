"""What containers print: one file each, stdout and stderr together, written by the shim and read from its end.

The shim never opens its file again, so a file that grew too large is copied aside and emptied; lines that arrive in
that moment are lost.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

NAME: Final = "log"
_OLDER: Final = "log.1"
_COPY_BYTES: Final = 1024 * 1024


def tail(folder: Path, most: int) -> bytes:
    """The last `most` bytes of a container's output; empty when there is none."""
    end = _end(folder / NAME, most)
    return _end(folder / _OLDER, most - len(end)) + end


def trim(folders: Path, limit: int) -> None:
    """Keep every container below `folders` to the last `limit` … 2 · `limit` bytes of its output; raises OSError."""
    for log in folders.glob(f"*/{NAME}"):
        try:
            if log.stat().st_size > limit:
                _set_aside(log, log.with_name(_OLDER), limit)
        except FileNotFoundError:  # removed at this moment
            continue


def _set_aside(log: Path, older: Path, limit: int) -> None:
    try:
        with log.open("rb") as source, older.open("wb") as copy:
            source.seek(-limit, os.SEEK_END)
            while limit > 0 and (data := source.read(min(_COPY_BYTES, limit))):
                copy.write(data)
                limit -= len(data)
    finally:  # also when the disk is full: then above all
        os.truncate(log, 0)


def _end(file: Path, most: int) -> bytes:
    try:
        with file.open("rb") as f:
            size = f.seek(0, os.SEEK_END)
            f.seek(max(0, size - most))
            return f.read(max(0, most))
    except FileNotFoundError:
        return b""
