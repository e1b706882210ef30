"""What the local stack takes from its surroundings: the only place here that reads environment variables."""

from __future__ import annotations

import os
from pathlib import Path

DEFAULT_STATE_DIR = Path(".spinney")
_SYSTEM_PATHS = ("/usr/local/sbin", "/usr/sbin", "/sbin")


def cache_folder() -> Path:
    """Where downloads that any checkout can reuse are kept (XDG)."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "spinney"


def in_ci() -> bool:
    """Whether this is a CI run: what `make setup` installs must then be there."""
    return os.environ.get("CI", "").lower() not in {"", "0", "false"}


def inherited_environment() -> dict[str, str]:
    """The environment for child processes: ours, with the system programs' folders on PATH as well."""
    paths = os.environ.get("PATH", "/usr/local/bin:/usr/bin:/bin").split(":")
    return {**os.environ, "PATH": ":".join([*paths, *(p for p in _SYSTEM_PATHS if p not in paths)])}
