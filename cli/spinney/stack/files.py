"""Files that only their owner can read, written whole or not at all, also when two write at the same time."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def _written_beside(file: Path, text: str) -> Iterator[Path]:
    handle, beside = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")  # 0600 from the first moment
    try:
        with os.fdopen(handle, "w") as out:
            out.write(text)
        yield Path(beside)
    finally:
        Path(beside).unlink(missing_ok=True)


def write_private(file: Path, text: str) -> None:
    """Put this text in the place of whatever the file held."""
    with _written_beside(file, text) as beside:
        beside.replace(file)


def write_private_once(file: Path, text: str) -> None:
    """Give the file this text unless it exists: whoever is first wins."""
    with _written_beside(file, text) as beside, contextlib.suppress(FileExistsError):
        file.hardlink_to(beside)
