"""What the root answers, as far as this command reads it; fields that it does not know are skipped."""

from __future__ import annotations

from typing import Any

from msgspec import Struct, field


class Problem(Struct, frozen=True):
    """One thing wrong with what was sent: a JSON path and what is wrong there."""

    path: str
    message: str


class Tokens(Struct, frozen=True):
    """What a login gives."""

    token: str
    refresh_token: str = ""


class ErrorAnswer(Struct, frozen=True):
    """Anything that is no success."""

    message: str
    errors: tuple[Problem, ...] = ()


class MessageAnswer(Struct, frozen=True):
    """What was done, in words."""

    message: str


class Ready(Struct, frozen=True):
    """Whether the root can do its work."""

    ready: bool
    waiting_for: tuple[str, ...] = ()


class Application(Struct, frozen=True):
    """An application."""

    id: str = field(name="applicationID")
    name: str = field(name="application_name")
    namespace: str = field(name="application_namespace")
    microservices: tuple[str, ...] = ()


class Instance(Struct, frozen=True):
    """One instance of a service."""

    number: int = field(name="instance_number")
    status: str
    detail: str = field(name="status_detail", default="")
    runtime: str = ""
    node_name: str = ""
    cluster_name: str = ""
    host_ip: str = ""
    host_port: str = ""
    address: str = ""
    generation: int = 1
    restarts: int = 0
    started_at: float = 0.0
    exit_code: int | None = None


class Service(Struct, frozen=True):
    """A microservice with its instances."""

    id: str = field(name="microserviceID")
    name: str = field(name="microservice_name")
    namespace: str = field(name="microservice_namespace")
    job_name: str
    app_name: str
    app_ns: str
    status: str
    detail: str = field(name="status_detail", default="")
    virtualization: str = "container"
    image: str = ""
    replicas: int = 0
    instances: tuple[Instance, ...] = field(name="instance_list", default=())


class Cluster(Struct, frozen=True):
    """A cluster."""

    id: str = field(name="_id")
    name: str = field(name="cluster_name")
    active: bool
    active_nodes: int
    total_cpu_cores: float
    vcpus: float
    memory_in_mb: int
    memory: int
    virtualization: tuple[str, ...] = ()


class Amounts(Struct, frozen=True):
    """An amount of resources."""

    memory_mib: int = 0
    cpu_milli: int = 0


class Runtime(Struct, frozen=True):
    """One runtime of one node."""

    name: str
    driver: str
    state: str
    kind: str = "container"
    version: str = ""
    reason: str = ""
    hint: str = ""
    start_ms: float = 0.0
    default: bool = False


class Node(Struct, frozen=True):
    """A node and its runtimes."""

    id: str
    name: str
    cluster: str
    online: bool
    arch: str = ""
    instances: int = 0
    capacity: Amounts = Amounts()
    reserved: Amounts = Amounts()
    runtimes: tuple[Runtime, ...] = ()
    problems: tuple[str, ...] = ()


class EventResult(Struct, frozen=True):
    """The answer to a deploy, undeploy or scale."""

    event: str
    status: str
    applications: dict[str, str] = {}
    microservices: dict[str, str] = {}
    details: dict[str, str] = {}
    errors: tuple[Problem, ...] = ()


class Logs(Struct, frozen=True):
    """The end of an instance's log."""

    logs: str


class Event(Struct, frozen=True):
    """A lifecycle event."""

    id: str
    type: str
    subject: str
    time: str
    data: dict[str, Any] = {}
