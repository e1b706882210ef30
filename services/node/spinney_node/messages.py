"""What happens inside a node (past tense) and what it does (imperative): two closed unions.

An action's outcome is the next message; the shell (`spinney_node.perform`) turns the one into the other.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct
from spinney_shared.deciding import Connected, Disconnected, Tick
from spinney_shared.messages import Query, Usage
from spinney_shared.model import RuntimeInfo
from spinney_shared.receiving import Received

from .drivers import Exited, Handle, Workload


class Fingerprinted(Struct, frozen=True):
    """A driver has verified its runtimes, or says why it could not."""

    driver: str
    runtimes: tuple[RuntimeInfo, ...] = ()
    problem: str = ""


class Listed(Struct, frozen=True):
    """What a driver's engine has of ours, or why that is unknown."""

    driver: str
    asked_at: float
    """Monotonic, when the listing began."""
    handles: tuple[Handle, ...] = ()
    problem: str = ""


class Progressed(Struct, frozen=True):
    """A start that takes its time says what it does."""

    id: str
    detail: str


class Started(Struct, frozen=True):
    """A workload runs."""

    driver: str
    handle: Handle


class StartFailed(Struct, frozen=True):
    """A workload does not run, and nothing of it is left."""

    id: str
    why: Literal["image", "engine", "unsupported", "other"]
    detail: str


class Removed(Struct, frozen=True):
    """A workload was stopped and nothing of it is left; with `problem`, something is."""

    id: str
    problem: str = ""


class WorkloadExited(Struct, frozen=True):
    """A workload ended by itself."""

    driver: str
    exited: Exited


class EngineChanged(Struct, frozen=True):
    """An engine went away, came back, or has other runtimes."""

    driver: str
    detail: str


class LogsRead(Struct, frozen=True):
    """The answer to a query."""

    query: Query
    text: str = ""
    error: str = ""


class Sampled(Struct, frozen=True):
    """The machine's load."""

    usage: Usage


Message = (
    Received
    | Connected
    | Disconnected
    | Tick
    | Fingerprinted
    | Listed
    | Progressed
    | Started
    | StartFailed
    | Removed
    | WorkloadExited
    | EngineChanged
    | LogsRead
    | Sampled
)


class Fingerprint(Struct, frozen=True):
    """Verify the driver's runtimes."""

    driver: str


class List(Struct, frozen=True):
    """Ask the driver's engine what it has of ours."""

    driver: str
    asked_at: float


class Start(Struct, frozen=True):
    """Start a workload."""

    driver: str
    workload: Workload


class Remove(Struct, frozen=True):
    """Stop a workload, even one that is still being started, and remove what is left of it."""

    driver: str
    id: str
    grace_s: float


class ReadLogs(Struct, frozen=True):
    """Read the end of a workload's log."""

    driver: str
    id: str
    query: Query


Action = Fingerprint | List | Start | Remove | ReadLogs
