"""How the demonstration fails: always with the step, the reason, and where to look next."""

from __future__ import annotations

from pathlib import Path

from spinney.stack import StackError


class DemoFailed(StackError):
    """A step of the demonstration did not come to its end."""

    def __init__(self, step: str, reason: object, logs: Path) -> None:
        super().__init__(
            f"The demo failed at: {step}\n{reason}\n\n"
            f"What every part wrote is in {logs} (root.log, cluster.log, node.log first).\n"
            "To look around, `spinney up` in one terminal and `spinney status` in another."
        )
