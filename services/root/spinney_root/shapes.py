"""What REST answers: the shapes that existing clients know, and our own under ``/api/v1``.

Numbers that nobody measures yet are zero or empty, as those clients expect the fields to be there.
"""

from __future__ import annotations

from msgspec import Struct, field
from spinney_shared.messages import Problem, Usage
from spinney_shared.model import Location, Resources, RuntimeInfo


class ErrorAnswer(Struct, frozen=True):
    """What was wrong: in one sentence, and each thing with its JSON path."""

    message: str
    errors: tuple[Problem, ...] = ()


class MessageAnswer(Struct, frozen=True):
    """What was done, in words."""

    message: str


class TokenAnswer(Struct, frozen=True):
    """A new access token."""

    token: str


class UserAnswer(Struct, frozen=True):
    """A user, without the password."""

    username: str
    roles: tuple[str, ...]
    organization_name: str = ""


class ApplicationAnswer(Struct, frozen=True):
    """An application with the ids of its microservices."""

    applicationID: str
    application_name: str
    application_namespace: str
    application_desc: str
    microservices: tuple[str, ...]
    owner: str


class Measured(Struct, frozen=True):
    """One value of a history."""

    value: str
    timestamp: str


class InstanceAnswer(Struct, frozen=True):
    """One instance of a service."""

    instance_number: int
    status: str
    status_detail: str
    publicip: str
    cluster_id: str
    cluster_location: str
    worker_id: str
    host_ip: str
    host_port: str
    runtime: str
    """The runtime that it really runs on."""
    node_name: str
    cluster_name: str
    address: str
    generation: int
    restarts: int
    started_at: float
    exit_code: int | None
    cpu_percent: str = "0.0"
    memory_percent: str = "0.0"
    cpu_history: tuple[Measured, ...] = ()
    memory_history: tuple[Measured, ...] = ()
    logs: str = ""
    disk: str = ""


class ServiceAnswer(Struct, frozen=True):
    """A microservice: what was asked for, and how its instances are."""

    microserviceID: str
    microservice_name: str
    microservice_namespace: str
    applicationID: str
    application_name: str
    application_namespace: str
    app_name: str
    app_ns: str
    job_name: str
    status: str
    status_detail: str
    virtualization: str
    code: str
    image: str
    memory: int
    vcpus: float
    vgpus: int
    vtpus: int
    storage: int
    bandwidth_in: int
    bandwidth_out: int
    port: str
    cmd: tuple[str, ...]
    environment: tuple[str, ...]
    RR_ip: str
    RR_ip_v6: str
    replicas: int
    """How many instances are wanted."""
    generation: int
    statuses: dict[str, int]
    """Status → how many instances have it."""
    instance_list: tuple[InstanceAnswer, ...]


class ClusterAnswer(Struct, frozen=True):
    """A cluster, its capacity and the runtimes that are verified in it."""

    id: str = field(name="_id")
    cluster_name: str
    candidate_name: str
    ip: str
    port: str
    active: bool
    active_nodes: int
    cluster_location: str
    total_cpu_cores: float
    """All CPUs of its nodes."""
    total_gpu_cores: int
    vcpus: float
    """CPUs that are not reserved."""
    vgpus: int
    memory_in_mb: int
    """All memory of its nodes."""
    memory: int
    """Memory that is not reserved, in MB."""
    cpu_percent: float
    memory_percent: float
    virtualization: tuple[str, ...]
    """Names of the runtimes that at least one node has verified."""
    gpu_percent: float = 0.0
    gpu_temp: float = 0.0
    vram: float = 0.0
    vram_percent: float = 0.0
    csi_drivers: tuple[str, ...] = ()
    supported_addons: tuple[str, ...] = ()
    gpu_drivers: tuple[str, ...] = ()
    last_modified_timestamp: float = 0.0


class NodeAnswer(Struct, frozen=True):
    """A node and everything it said about its runtimes."""

    id: str
    name: str
    cluster: str
    online: bool
    arch: str
    host_ip: str
    version: str
    instances: int
    capacity: Resources
    reserved: Resources
    usage: Usage
    labels: dict[str, str]
    location: Location | None
    runtimes: tuple[RuntimeInfo, ...]
    problems: tuple[str, ...]


class RuntimeOnNode(Struct, frozen=True):
    """What one node found out about a runtime."""

    node: str
    node_name: str
    cluster: str
    online: bool
    driver: str
    version: str
    default: bool
    start_ms: float
    reason: str
    hint: str


class RuntimeAnswer(Struct, frozen=True):
    """A runtime: on which nodes a canary ran, on which it failed and why."""

    name: str
    kind: str
    verified: tuple[RuntimeOnNode, ...]
    failed: tuple[RuntimeOnNode, ...]


class InstanceRow(Struct, frozen=True):
    """An instance with the names of what it belongs to."""

    microservice: str
    job_name: str
    application: str
    instance: InstanceAnswer


class LogsAnswer(Struct, frozen=True):
    """The end of an instance's log."""

    logs: str


class ReadyAnswer(Struct, frozen=True):
    """Whether this root can do its work, and what keeps it from it."""

    ready: bool
    waiting_for: tuple[str, ...] = ()
