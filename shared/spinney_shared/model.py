"""The nouns every tier shares: what should run (specification), what it needs (resources), what a machine can run.

Everything here is immutable data. Units end the names: ``memory_mib``, ``cpu_milli`` (thousandths of one CPU),
``in_mbit``. Times called ``…_at`` are wall-clock seconds since the epoch and only decorate; nothing is decided by them.
"""

from __future__ import annotations

import base64
import hashlib
from typing import Annotated, Literal, NamedTuple

from msgspec import Meta, Struct

Whole = Annotated[int, Meta(ge=-(2**53), le=2**53)]
"""Any number that counts something here: what a database and a browser can hold exactly."""

MOST_OF_A_MACHINE = 2**40
"""No machine has more of anything; the sum over thousands of them is still a `Whole`."""

Label = Annotated[str, Meta(pattern=r"^[^\x00]*$")]
"""The name of something in a mapping; a database takes no NUL there."""

DEFAULT_RUNTIME = "container"
"""The virtualization word for "the node's default verified OCI runtime"."""


class InstanceKey(NamedTuple):
    """Names one instance on every tier: the microservice's id and the number the root gave it."""

    microservice: str
    number: int

    def __str__(self) -> str:
        return f"{self.microservice}#{self.number}"


class Resources(Struct, frozen=True, omit_defaults=True):
    """An amount of resources: what a microservice reserves, or what a machine has."""

    memory_mib: Whole = 0
    cpu_milli: Whole = 0
    gpus: Whole = 0
    tpus: Whole = 0
    storage_mib: Whole = 0
    in_mbit: Whole = 0
    out_mbit: Whole = 0

    def __add__(self, other: Resources) -> Resources:
        return Resources(*(getattr(self, f) + getattr(other, f) for f in self.__struct_fields__))

    def __sub__(self, other: Resources) -> Resources:
        return Resources(*(getattr(self, f) - getattr(other, f) for f in self.__struct_fields__))

    def within(self, least: int, most: int) -> Resources:
        """This amount with every field brought between the two bounds."""
        return Resources(*(min(max(getattr(self, f), least), most) for f in self.__struct_fields__))

    def short_of(self, wanted: Resources) -> list[str]:
        """The names of the fields in which this amount is smaller than `wanted`."""
        return [f for f in self.__struct_fields__ if getattr(self, f) < getattr(wanted, f)]


class PortMapping(Struct, frozen=True, omit_defaults=True):
    """One published port: ``host`` on the node leads to ``container`` inside the instance."""

    host: Whole
    container: Whole
    protocol: Literal["tcp", "udp"] = "tcp"


class RestartPolicy(Struct, frozen=True, omit_defaults=True):
    """When an instance that ended is started again, and how long after; delays double up to the longest."""

    policy: Literal["always", "on-failure", "never"] = "always"
    max_attempts: Whole = 0
    """Starts after the first before giving up; 0 = never give up."""
    backoff_s: float = 1.0
    longest_backoff_s: float = 60.0


class DirectConstraint(Struct, frozen=True, omit_defaults=True):
    """Only these clusters and nodes will do; an empty list means any."""

    clusters: tuple[str, ...] = ()
    nodes: tuple[str, ...] = ()


class MicroserviceSpec(Struct, frozen=True, omit_defaults=True):
    """Everything a node needs to run one instance of a microservice; a change makes a new ``generation``."""

    id: str
    generation: Whole
    job_name: str
    """``application.namespace.microservice.namespace``: the name people read."""
    image: str
    runtime: str = DEFAULT_RUNTIME
    """``container``, or the name of a runtime that the node must have verified."""
    command: tuple[str, ...] = ()
    environment: tuple[str, ...] = ()
    resources: Resources = Resources()
    ports: tuple[PortMapping, ...] = ()
    arch: tuple[str, ...] = ()
    one_shot: bool = False
    privileged: bool = False
    direct: DirectConstraint = DirectConstraint()
    restart: RestartPolicy = RestartPolicy()
    stop_grace_s: float = 10.0
    labels: dict[Label, str] = {}
    lost_after_s: float = 10.0


class RuntimeInfo(Struct, frozen=True, omit_defaults=True):
    """One virtualization runtime of one node, and whether a canary really ran on it."""

    name: str
    driver: str
    state: Literal["verified", "failed"]
    kind: Literal["container", "sandbox", "microvm", "unikernel", "simulated"] = "container"
    version: str = ""
    isolation: str = ""
    """In words: ``host kernel``, ``user-space kernel``, ``virtual machine``."""
    image_flavours: tuple[str, ...] = ("oci",)
    reason: str = ""
    """Why it failed, in the runtime's own words."""
    hint: str = ""
    """What mends it, when the cause is a known one."""
    start_ms: float = 0.0
    """How long the canary took from create to started, in milliseconds."""
    default: bool = False
    """This is the one that ``container`` means on this node."""
    source: str = ""
    """Where it was found: ``containerd configuration``, ``PATH: /usr/bin/runc``."""


class Location(Struct, frozen=True):
    """A place on the earth, in degrees."""

    latitude: float
    longitude: float


class NodeInfo(Struct, frozen=True, omit_defaults=True):
    """What a node says of itself: a name for people, its capacity and its runtimes, verified or failed."""

    name: str
    arch: str = "amd64"
    capacity: Resources = Resources()
    runtimes: tuple[RuntimeInfo, ...] = ()
    labels: dict[Label, str] = {}
    host_ip: str = ""
    version: str = ""
    location: Location | None = None
    problems: tuple[str, ...] = ()
    """What keeps whole drivers from working, e.g. "containerd: socket … not there"."""


def driver_id(key: InstanceKey, generation: int) -> str:
    """A short id for the container or guest of one instance: 20 characters of ``[a-z2-7]``, the same on every call.

    Engines put the id in UNIX socket paths (108 bytes in all), hence short; the labels carry the readable names.
    """
    digest = hashlib.sha256(f"{key.microservice}\n{key.number}\n{generation}".encode()).digest()
    return base64.b32encode(digest)[:20].decode().lower()
