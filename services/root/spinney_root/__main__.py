"""``spinney-root``: applications, REST, which cluster gets how many instances."""

import sys
from typing import Any

from spinney_shared.running import main as run_service

from .app import run
from .config import RootSettings


def main() -> None:
    """Entry point."""
    # Litestar loads pydantic (9 MB of memory) where it happens to be installed, and nothing here uses it.
    not_there: dict[str, Any] = {"pydantic": None}
    sys.modules.update(not_there)  # an import of it fails as if it were not installed
    run_service("spinney-root", RootSettings, run)


if __name__ == "__main__":
    main()
