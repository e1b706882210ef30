"""Reads from this machine what discovery needs: containerd's configuration with its imports, and the search path."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from .discovery import imports_of
from .known import OCI_BINARIES

MAX_CONFIG_BYTES: Final = 1024 * 1024
MAX_CONFIG_FILES: Final = 64

_EXTRA: Final = ("kata-runtime", "firecracker", "urunc")


def read_texts(config_path: str) -> tuple[list[tuple[str, str]], list[str]]:
    """The configuration file and everything it imports, as (path, text), and what could not be read, in words.

    A configuration that is not there is no problem: containerd then runs on its defaults.
    """
    texts: dict[Path, str] = {}
    problems: list[str] = []
    waiting = [Path(config_path).resolve()] if Path(config_path).exists() else []
    while waiting:
        path = waiting.pop(0)
        if path in texts:
            continue
        if len(texts) >= MAX_CONFIG_FILES:
            problems.append(f"{config_path}: imports more than {MAX_CONFIG_FILES} files; the rest is left out")
            break
        try:
            texts[path] = _read(path)
            for pattern in imports_of(texts[path]):
                waiting += _matching(path.parent, pattern)
        except (OSError, ValueError) as error:
            problems.append(f"{path}: {error}")
    return [(str(path), text) for path, text in texts.items()], problems


def programs(search_path: str) -> dict[str, str]:
    """The runtimes' and shims' programs on a search path, file name → absolute path; the first folder wins."""
    found: dict[str, str] = {}
    for folder in search_path.split(":"):
        if not folder.startswith("/"):
            continue
        shims = sorted(Path(folder).glob("containerd-shim-*"))
        for path in (*shims, *(Path(folder, name) for name in (*OCI_BINARIES, *_EXTRA))):
            if path.is_file() and os.access(path, os.X_OK):
                found.setdefault(path.name, str(path))
    return found


def stamp(path: str) -> tuple[str, int, int]:
    """Path, time of last change (ns) and size: differs once the file was replaced; zeros when it is not there."""
    try:
        seen = Path(path).stat()
    except OSError:
        return path, 0, 0
    return path, seen.st_mtime_ns, seen.st_size


def _read(path: Path) -> str:
    with path.open("rb") as file:
        data = file.read(MAX_CONFIG_BYTES + 1)
    if len(data) > MAX_CONFIG_BYTES:
        raise ValueError(f"larger than {MAX_CONFIG_BYTES} bytes")
    return data.decode()


def _matching(folder: Path, pattern: str) -> list[Path]:
    """Files of an import: relative to the importing file's folder, wildcards allowed in the last part."""
    path = folder / pattern
    matches = sorted(path.parent.glob(path.name)) if any(sign in path.name for sign in "*?[") else [path]
    return [match.resolve() for match in matches]
