"""Starts and ends containers on one containerd: images, snapshots, tasks and network in the right order."""

from __future__ import annotations

from msgspec import Struct

from .candidates import Candidate


class RunResult(Struct, frozen=True):
    """What a container that was run to its end did."""

    exit_code: int
    output: bytes
    """stdout and stderr, the last 64 KiB."""
    start_ms: float
    """From create to started, network included."""


class Engine:
    """One containerd, one namespace, one bridge."""

    async def run_once(
        self, candidate: Candidate, image: str, *, id: str, args: tuple[str, ...] = (), deadline_s: float = 20.0
    ) -> RunResult:
        """Run `image` (already imported) on `candidate` to its end and delete every trace of it.

        Exactly what a real instance gets, its own network included. `args` replaces the image's command.
        Raises DriverError with the runtime's own words, also when the deadline passed.
        """
        raise NotImplementedError
