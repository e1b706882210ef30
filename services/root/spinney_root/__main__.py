"""``spinney-root``: applications, REST, which cluster gets how many instances."""

from spinney_shared.running import main as run_service

from .app import run
from .config import RootSettings


def main() -> None:
    """Entry point."""
    run_service("spinney-root", RootSettings, run)


if __name__ == "__main__":
    main()
