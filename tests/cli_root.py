"""A root for tests of the `spinney` command: answers over httpx's MockTransport, in the shapes of the real root."""

from __future__ import annotations

from typing import Any

import httpx
import msgspec
from spinney.client import Client
from spinney.login import Login
from spinney.place import Place
from spinney_root import shapes
from spinney_shared.messages import CloudEvent, EventResult, Problem, Usage
from spinney_shared.model import Resources, RuntimeInfo

URL = "http://root.test:10000"
PASSWORD = "correct horse"


def instance(number: int = 0, status: str = "RUNNING", detail: str = "", **more: Any) -> shapes.InstanceAnswer:
    where: dict[str, Any] = {"node_name": "node-1", "runtime": "runc", "address": f"10.112.0.{number + 2}"}
    return shapes.InstanceAnswer(
        **{
            **dict.fromkeys(("publicip", "cluster_id", "cluster_location", "worker_id", "host_ip", "host_port"), ""),
            "instance_number": number,
            "status": status,
            "status_detail": detail,
            "cluster_name": "local",
            "generation": 1,
            "restarts": 0,
            "started_at": 1.0,
            "exit_code": None,
            **where,
            **more,
        }
    )


def service(
    *instances: shapes.InstanceAnswer, name: str = "web", app: str = "hello", **more: Any
) -> shapes.ServiceAnswer:
    worst = next((one for one in instances if one.status != "RUNNING"), None)
    return shapes.ServiceAnswer(
        **{
            **dict.fromkeys(("memory", "vgpus", "vtpus", "storage", "bandwidth_in", "bandwidth_out"), 0),
            **dict.fromkeys(("port", "RR_ip", "RR_ip_v6"), ""),
            "microserviceID": f"id-{app}-{name}",
            "microservice_name": name,
            "microservice_namespace": "demo",
            "applicationID": f"id-{app}",
            "application_name": app,
            "application_namespace": "demo",
            "app_name": app,
            "app_ns": "demo",
            "job_name": f"{app}.demo.{name}.demo",
            "status": worst.status if worst else "RUNNING",
            "status_detail": worst.status_detail if worst else "",
            "virtualization": "container",
            "code": "registry/hello:1",
            "image": "registry/hello:1",
            "vcpus": 0.1,
            "cmd": (),
            "environment": (),
            "replicas": len(instances),
            "generation": 1,
            "statuses": {},
            "instance_list": instances,
            **more,
        }
    )


def node(**more: Any) -> shapes.NodeAnswer:
    runtimes = (
        RuntimeInfo(name="runc", driver="containerd", state="verified", version="1.1.5", start_ms=88.4, default=True),
        RuntimeInfo(name="crun", driver="containerd", state="failed", reason="hybrid cgroups", hint="use cgroup v2"),
    )
    return shapes.NodeAnswer(
        **{
            "id": "id-node",
            "name": "node-1",
            "cluster": "local",
            "online": True,
            "arch": "amd64",
            "host_ip": "127.0.0.1",
            "version": "0.1.0",
            "instances": 1,
            "capacity": Resources(memory_mib=2048, cpu_milli=2000),
            "reserved": Resources(memory_mib=512, cpu_milli=500),
            "usage": Usage(),
            "labels": {},
            "location": None,
            "runtimes": runtimes,
            "problems": (),
            **more,
        }
    )


def cluster() -> shapes.ClusterAnswer:
    texts = dict.fromkeys(("candidate_name", "ip", "port", "cluster_location"), "")
    numbers = dict.fromkeys(("total_gpu_cores", "vgpus", "cpu_percent", "memory_percent"), 0)
    known: dict[str, Any] = {"id": "id-cluster", "cluster_name": "local", "active": True, "active_nodes": 1}
    free: dict[str, Any] = {"total_cpu_cores": 2.0, "vcpus": 1.5, "memory_in_mb": 2048, "memory": 1536}
    return shapes.ClusterAnswer(**texts, **numbers, **known, **free, virtualization=("container", "runc"))


def event(**data: Any) -> CloudEvent:
    time = "2026-01-02T03:04:05.678+00:00"
    return CloudEvent(
        id="e1", source="/spinney/root", type="spinney.instance.status", subject="s", time=time, data=data
    )


class FakeRoot:
    """What it answers is in its fields; what it was asked is in `asked`."""

    def __init__(self, *services: shapes.ServiceAnswer) -> None:
        self.services = list(services)
        self.asked: list[httpx.Request] = []
        self.token = "t1"
        self.problems: tuple[Problem, ...] = ()
        self.events: list[CloudEvent] = []
        self.down = False

    def client(self, place: Place, login: Login) -> Client:
        """Takes the place of `spinney.client.Client`."""
        return Client(place, login, httpx.MockTransport(self.answer))

    def answer(self, request: httpx.Request) -> httpx.Response:
        """One request; the bearer must be the current token."""
        self.asked.append(request)
        if self.down:
            raise httpx.ConnectError("[Errno 111] Connection refused")
        path = request.url.path
        if path == "/readyz":
            return _json(shapes.ReadyAnswer(True))
        if path == "/api/auth/login":
            return self._login(msgspec.json.decode(request.content))
        if path == "/api/auth/refresh":
            return _error(401, "the token has expired")
        if request.headers.get("authorization") != f"Bearer {self.token}":
            return _error(401, "log in first")
        return self._answer(request.method, path, request)

    def _login(self, body: dict[str, str]) -> httpx.Response:
        if body["password"] != PASSWORD:
            return _error(401, "wrong user name or password")
        return _json({"token": self.token, "refresh_token": "r1"})

    def _answer(self, verb: str, path: str, request: httpx.Request) -> httpx.Response:
        ids = {one.microserviceID: one for one in self.services}
        apps = {one.applicationID: one for one in self.services}
        match [verb, *path.strip("/").split("/")]:
            case ["GET", "api", "clusters"]:
                return _json([cluster()])
            case ["GET", "api", "v1", "nodes"]:
                return _json([node()])
            case ["GET", "api", "services"]:
                return _json(self.services)
            case ["GET", "api", "applications"]:
                return _json([_application(one, self.services) for one in apps.values()])
            case ["GET", "api", "service", id] if id in ids:
                return _json(ids[id])
            case ["DELETE", "api", kind, id] if id in {**ids, **apps}:
                return _json(shapes.MessageAnswer(f"{kind} {id} deleted"))
            case ["POST", "api", "v1", "deploy"] if self.problems:
                return _json(shapes.ErrorAnswer("refused: 2 problems", self.problems), 400)
            case ["POST", "api", "v1", "deploy"] | ["PUT", "api", "v1", "services", _, "replicas"]:
                names = {one.job_name: one.microserviceID for one in self.services}
                return _json(EventResult(event="e1", status="accepted", microservices=names))
            case ["GET", "api", "v1", "instances", _, number, "logs"]:
                return _json(shapes.LogsAnswer(f"log of {number}, {request.url.params['tail_bytes']} bytes\n"))
            case ["GET", "api", "v1", "events"]:
                return httpx.Response(200, content=_stream(self.events), headers={"content-type": "text/event-stream"})
            case _:
                return _error(404, f"there is no {path}")


def _application(one: shapes.ServiceAnswer, services: list[shapes.ServiceAnswer]) -> shapes.ApplicationAnswer:
    own = tuple(each.microserviceID for each in services if each.applicationID == one.applicationID)
    return shapes.ApplicationAnswer(one.applicationID, one.app_name, one.app_ns, "", own, "Admin")


def _stream(events: list[CloudEvent]) -> bytes:
    parts = [": connected\r\ndata: \r\n\r\n"]
    parts += [f"id: {e.id}\r\nevent: {e.type}\r\ndata: {msgspec.json.encode(e).decode()}\r\n\r\n" for e in events]
    return "".join(parts).encode()


def _json(answer: object, status: int = 200) -> httpx.Response:
    return httpx.Response(status, content=msgspec.json.encode(answer), headers={"content-type": "application/json"})


def _error(status: int, message: str) -> httpx.Response:
    return _json(shapes.ErrorAnswer(message), status)
