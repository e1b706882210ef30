"""``spinney-node``: the instances on one machine."""

from spinney_shared.running import main as run_service

from .app import run
from .config import NodeSettings


def main() -> None:
    """Entry point."""
    run_service("spinney-node", NodeSettings, run)


if __name__ == "__main__":
    main()
