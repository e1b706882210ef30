"""``spinney-cluster``: which node runs which instance."""

from spinney_shared.running import main as run_service

from .app import run
from .config import ClusterSettings


def main() -> None:
    """Entry point."""
    run_service("spinney-cluster", ClusterSettings, run)


if __name__ == "__main__":
    main()
