"""The contract between the node and what really runs instances: containerd, QEMU, a simulation …

A driver does what it is told and says what it sees; it never decides (no restarts, no back-off, no placement: that is
`spinney_node.decide`). Drivers register by the entry point group ``spinney.drivers``; the node loads those that its
configuration names and calls them as ``factory(settings: dict)``. A third-party driver proves itself with the
conformance suite in `spinney_node.drivers.conformance`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Literal, Protocol, runtime_checkable

from msgspec import Struct
from spinney_shared.model import InstanceKey, MicroserviceSpec, RuntimeInfo


class Workload(Struct, frozen=True):
    """What to start: one generation of one instance on one runtime."""

    id: str
    """The engine's id for it (`spinney_shared.model.driver_id`), at most 26 characters."""
    number: int
    runtime: str
    """A name from `Driver.fingerprint`; never the word ``container``."""
    spec: MicroserviceSpec


class Handle(Struct, frozen=True):
    """One workload as the engine has it, whoever started it and whenever."""

    id: str
    microservice: str
    number: int
    generation: int
    runtime: str
    state: Literal["running", "stopped"]
    """``stopped``: it ran (or never got to) and is not running now; only `remove` makes sense."""
    started_at: float = 0.0
    """Wall-clock seconds; of the first moment it ran. The same after our restart."""
    address: str = ""
    exit_code: int | None = None
    detail: str = ""

    @property
    def key(self) -> InstanceKey:
        """The instance this is a copy of."""
        return InstanceKey(self.microservice, self.number)


class Exited(Struct, frozen=True):
    """A workload ended without having been told to."""

    id: str
    exit_code: int
    detail: str = ""
    """In words when more is known: "killed by signal 9", "out of memory (limit 64 MiB)"."""


class Changed(Struct, frozen=True):
    """The engine went away, came back, or its runtimes changed: list and fingerprint again."""

    detail: str


DriverEvent = Exited | Changed


class DriverError(Exception):
    """Could not be done now; trying again later may help. The text is for people."""


class EngineUnavailable(DriverError):
    """The engine itself (its socket, its daemon) is not there."""


class ImageUnavailable(DriverError):
    """The image could not be had: not found, no access, registry away, damaged."""


class Unsupported(DriverError):
    """This driver can never do what the workload asks for; trying again does not help."""


class Driver(Protocol):
    """What every driver can do. All methods may be called concurrently for different workloads."""

    name: str

    async def fingerprint(self) -> list[RuntimeInfo]:
        """Discover candidates and verify each one by running a canary; raises EngineUnavailable."""
        ...

    async def list(self) -> list[Handle]:
        """Every workload of ours that the engine has, running or stopped; raises EngineUnavailable."""
        ...

    async def start(self, workload: Workload, progress: Callable[[str], None]) -> Handle:
        """Fetch the image if need be and start the workload; returns when it runs.

        `progress` is told in words what takes time ("pulling …, 3 of 5 layers"). Starting an id that already runs
        returns it as it is. A stopped leftover of that id is removed first. On failure nothing is left behind.
        Raises DriverError or one of its kinds.
        """
        ...

    async def stop(self, id: str, grace_s: float) -> None:
        """Ask the workload to end, wait up to the grace, then force it; fine when it is not running or unknown."""
        ...

    async def remove(self, id: str) -> None:
        """Delete what is left of a stopped workload; forces a running one to stop. Fine when unknown."""
        ...

    def watch(self) -> AsyncIterator[DriverEvent]:
        """Events from now on, for ever; survives the engine's restart (then yields Changed)."""
        ...

    async def close(self) -> None:
        """Let go of the engine; workloads keep running."""
        ...


@runtime_checkable
class LogReader(Protocol):
    """A driver that keeps what its workloads print."""

    async def logs(self, id: str, tail_bytes: int) -> bytes:
        """The last `tail_bytes` of stdout and stderr; empty when there are none."""
        ...
