"""The SLA v2.0 document as people write it: every field, those that this version does not use yet included.

Units are the document's: ``memory`` and ``storage`` in MB, ``bandwidth_*`` in Mbit/s, times in seconds. What Spinney
adds to the original format is optional and stands last. Fields that ask for what this version cannot do are refused
when they are not empty (`not_yet`), never ignored.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from msgspec import Meta, Struct, field

from . import checks
from .checks import not_yet

MAX_APPLICATIONS: Final = 100
MAX_MICROSERVICES: Final = 100
MAX_REPLICAS: Final = 100_000

# `$` alone also matches before a last newline; the look-ahead does not.
Name = Annotated[str, Meta(pattern=r"^[a-zA-Z0-9]{1,30}$(?!\n)", description="use 1 to 30 letters and digits")]
Id = Annotated[str, Meta(max_length=100)]
Short = Annotated[str, Meta(max_length=1000)]
Argument = Annotated[
    str, Meta(max_length=65536, pattern=r"^[^\x00]*$", description="at most 65,536 characters, no NUL")
]
Variable = Annotated[
    str, Meta(max_length=65536, pattern=r"^[^=\x00]+=[^\x00]*$", description="write NAME=value, without NUL")
]
Image = Annotated[
    str, Meta(max_length=1024, pattern=r"^[^\s\x00-\x1f\x7f]+$(?!\n)", description="an image reference has no spaces")
]
RuntimeWord = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._-]{0,63}$(?!\n)",
        description="container, docker, unikernel, unikraft, or the name of a runtime",
        extra={"check": checks.runtime},
    ),
]
Architecture = Annotated[str, Meta(extra={"check": checks.architecture})]
Amount = Annotated[int, Meta(ge=0, le=1_000_000_000)]
Count = Annotated[int, Meta(ge=0, le=1000)]
Cpus = Annotated[float, Meta(ge=0, le=10_000)]
Seconds = Annotated[float, Meta(gt=0, le=86_400)]
Share = Annotated[float, Meta(ge=0, le=1)]
Replicas = Annotated[int, Meta(ge=0, le=MAX_REPLICAS)]


class Human(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Base of everything people write: an unknown field is an error."""


class Direct(Human, frozen=True, tag_field="type", tag="direct"):
    """Only these clusters and nodes; several separated by ``;``."""

    cluster: Short = ""
    node: Short = ""


class Clusters(Human, frozen=True, tag_field="type", tag="clusters"):
    """Only these clusters."""

    allowed: list[Short] = []


class Geo(Human, frozen=True, tag_field="type", tag="geo"):
    """Near a place: ``lat,long`` and kilometres."""

    location: Short = ""
    threshold: float = 0
    rigidness: Share = 0


class Latency(Human, frozen=True, tag_field="type", tag="latency"):
    """Near an area: milliseconds."""

    area: Short = ""
    threshold: float = 0
    rigidness: Share = 0


class Addons(Human, frozen=True, tag_field="type", tag="addons"):
    """Only where these add-ons are."""

    needs: list[Short] = []


Constraint = Direct | Clusters | Geo | Latency | Addons


class AddressRange(Human, frozen=True):
    """Addresses of a range of instances."""

    from_: int | str = field(default=0, name="from")
    to: int | str = 0
    start: int | str = ""


class Addresses(Human, frozen=True):
    """Service addresses; kept in the document, but there are no service addresses yet."""

    rr_ip: Annotated[str, Meta(extra={"check": checks.address(4, checks.SERVICE_V4)})] = ""
    rr_ip_v6: Annotated[str, Meta(extra={"check": checks.address(6, checks.SERVICE_V6)})] = ""
    closest_ip: Annotated[str, Meta(extra={"check": checks.address(4)})] = ""
    closest_ip_v6: Annotated[str, Meta(extra={"check": checks.address(6)})] = ""
    instances: Annotated[list[AddressRange], Meta(extra={"check": not_yet("addresses for ranges of instances")})] = []


class Volume(Human, frozen=True):
    """Storage that is mounted into the instance."""

    volume_id: Short = ""
    csi_driver: Short = ""
    mount_path: Short = ""
    config: dict[str, Any] = {}


class Health(Human, frozen=True):
    """How to find out that an instance is healthy."""

    exec: list[Argument] = []
    http: Short = ""
    tcp: Amount = 0
    interval: float = 0
    timeout: float = 0
    retries: Count = 0


class Update(Human, frozen=True):
    """How instances follow a new specification."""

    parallel: Count = 0
    order: Short = ""
    failure: Short = ""


class ConnectionConstraint(Human, frozen=True):
    """What the connection to another microservice must be like."""

    type: Literal["latency", "bandwidth", "geo"]
    threshold: float = 0
    rigidness: Share = 0
    convergence_time: float = 0


class Connectivity(Human, frozen=True):
    """A microservice that this one talks to."""

    target_microservice_id: Short
    con_constraints: list[ConnectionConstraint] = []


class Restart(Human, frozen=True):
    """When an instance that ended is started again; ``backoff`` doubles with every attempt."""

    policy: Literal["always", "on-failure", "never"] = "always"
    max_attempts: Count = 0
    backoff: Seconds = 1.0


class Disconnect(Human, frozen=True):
    """When a node that vanished is given up, and which copy stays when it returns."""

    lost_after: Seconds = 10.0
    reconcile: Literal["", "keep_original", "keep_replacement"] = ""


class Microservice(Human, frozen=True):
    """One microservice: what to run, what it needs, where it may run."""

    microservice_name: Name
    microservice_namespace: Name
    code: Image
    microserviceID: Id = ""
    virtualization: RuntimeWord = "container"
    cmd: Annotated[list[Argument], Meta(max_length=1000)] = []
    memory: Amount = 0
    vcpus: Cpus = 0
    vgpus: Count = 0
    vtpus: Count = 0
    storage: Amount = 0
    bandwidth_in: Amount = 0
    bandwidth_out: Amount = 0
    port: Annotated[str, Meta(extra={"check": checks.ports})] = ""
    addresses: Addresses = Addresses()
    added_files: Annotated[list[Short], Meta(extra={"check": not_yet("files placed into instances")})] = []
    environment: Annotated[list[Variable], Meta(max_length=1000)] = []
    one_shot: bool = False
    privileged: bool = False
    args: list[Argument] = []
    state: Short = ""
    sla_violation_strategy: Short = ""
    target_node: Short = ""
    volumes: Annotated[list[Volume], Meta(extra={"check": not_yet("volumes")})] = []
    arch: list[Architecture] = []
    platform: Annotated[str, Meta(extra={"check": checks.platform})] = ""
    constraints: Annotated[list[Constraint], Meta(max_length=100, extra={"check": checks.constraints})] = []
    connectivity: Annotated[list[Connectivity], Meta(extra={"check": not_yet("connectivity constraints")})] = []
    replicas: Replicas | None = None
    restart: Restart = Restart()
    health: Annotated[Health, Meta(extra={"check": not_yet("health checks")})] = Health()
    update: Annotated[Update, Meta(extra={"check": not_yet("update policies")})] = Update()
    disconnect: Annotated[Disconnect, Meta(extra={"check": checks.disconnect})] = Disconnect()
    depends_on: Annotated[list[Short], Meta(extra={"check": not_yet("dependencies between microservices")})] = []
    labels: Annotated[dict[Short, Short], Meta(max_length=100)] = {}
    spread: Annotated[str, Meta(extra={"check": not_yet("spreading rules")})] = ""


Microservices = Annotated[
    list[Microservice],
    Meta(
        max_length=MAX_MICROSERVICES,
        description="microservices",
        extra={"check": checks.unique("microservice", "microservice_name", "microservice_namespace")},
    ),
]


class Application(Human, frozen=True):
    """An application and its microservices."""

    application_name: Name
    application_namespace: Name
    applicationID: Id = ""
    application_desc: Annotated[str, Meta(max_length=10_000)] = ""
    microservices: Microservices = []


class Document(Human, frozen=True):
    """A whole SLA document."""

    sla_version: Literal["v2.0"]
    customerID: Short
    applications: Annotated[
        list[Application],
        Meta(
            min_length=1,
            max_length=MAX_APPLICATIONS,
            description="applications",
            extra={"check": checks.unique("application", "application_name", "application_namespace")},
        ),
    ]
    args: list[Argument] = []


class Fragment(Human, frozen=True):
    """Microservices to add to an application that exists."""

    applicationID: Annotated[str, Meta(min_length=1, max_length=100)]
    microservices: Microservices


class UndeployEvent(Human, frozen=True):
    """Which application or microservice to end; exactly one is given."""

    application: Short = ""
    microservice: Short = ""


class ScaleEvent(Human, frozen=True):
    """How many instances of a microservice to run."""

    microservice: Annotated[str, Meta(min_length=1, max_length=1000)]
    replicas: Replicas
