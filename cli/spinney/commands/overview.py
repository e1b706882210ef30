"""Looking: what there is, how it is, and why not."""

from __future__ import annotations

from typing import Annotated

import msgspec
import typer
from rich.console import RenderableType
from rich.text import Text

from spinney import options, render
from spinney.client import Client
from spinney.names import find_service
from spinney.options import Json, PasswordFile, StateDir, Url, User
from spinney.output import print_all, print_json
from spinney.shapes import Application, Cluster, Node, Service

_STATUS_PATHS = {
    "clusters": "/api/clusters",
    "nodes": "/api/v1/nodes",
    "applications": "/api/applications",
    "services": "/api/services",
}


def status(
    url: Url = None,
    state_dir: StateDir = options.STATE_DIR,
    user: User = None,
    password_file: PasswordFile = None,
    as_json: Json = False,
) -> None:
    """Everything at a glance: the root, clusters, nodes, applications."""
    with options.connect(url, state_dir, user, password_file) as client:
        ready = client.ready()
        found = {name: client.raw(path) for name, path in _STATUS_PATHS.items()}
        if as_json:
            whole = {name: msgspec.Raw(content) for name, content in found.items()}
            print_json(msgspec.json.encode({"url": client.place.url, "root": ready, **whole}))
            return
        words = "ready" if ready.ready else f"not ready: {'; '.join(ready.waiting_for)}"
        nodes = client.decoded(found["nodes"], list[Node])
        applications = client.decoded(found["applications"], list[Application])
        services = client.decoded(found["services"], list[Service])
        clusters = client.decoded(found["clusters"], list[Cluster])
        print_all([Text(f"root at {client.place.url}: {words}"), render.clusters_table(clusters)])
        print_all([render.nodes_table(nodes), *render.node_notes(nodes)])
        print_all(_applications(applications, services))


def nodes(
    url: Url = None,
    state_dir: StateDir = options.STATE_DIR,
    user: User = None,
    password_file: PasswordFile = None,
    as_json: Json = False,
) -> None:
    """The nodes: what is free on them, and which runtimes they have verified."""
    with options.connect(url, state_dir, user, password_file) as client:
        content = client.raw("/api/v1/nodes")
        if as_json:
            print_json(content)
            return
        found = client.decoded(content, list[Node])
        print_all([render.nodes_table(found), *render.node_notes(found)])


def runtimes(
    url: Url = None,
    state_dir: StateDir = options.STATE_DIR,
    user: User = None,
    password_file: PasswordFile = None,
    as_json: Json = False,
) -> None:
    """The runtimes of every node: verified, or failed and why."""
    with options.connect(url, state_dir, user, password_file) as client:
        if as_json:
            print_json(client.raw("/api/v1/runtimes"))
            return
        found = client.get("/api/v1/nodes", list[Node])
        print_all([render.runtimes_table(found), *render.runtime_notes(found), *render.node_notes(found)])


def apps(
    url: Url = None,
    state_dir: StateDir = options.STATE_DIR,
    user: User = None,
    password_file: PasswordFile = None,
    as_json: Json = False,
) -> None:
    """The applications with their services: how many instances run, and why not."""
    with options.connect(url, state_dir, user, password_file) as client:
        if as_json:
            print_json(client.raw("/api/services"))
            return
        found = client.get("/api/applications", list[Application])
        print_all(_applications(found, client.get("/api/services", list[Service])))


def instances(
    service: Annotated[
        str | None, typer.Argument(metavar="SERVICE", help="Only those of this service: its name or id.")
    ] = None,
    url: Url = None,
    state_dir: StateDir = options.STATE_DIR,
    user: User = None,
    password_file: PasswordFile = None,
    as_json: Json = False,
) -> None:
    """The instances: where each one is, and what it really runs on."""
    with options.connect(url, state_dir, user, password_file) as client:
        found = _services(client, service)
        if as_json:
            only = {"microservice": found[0].id} if service is not None else {}
            print_json(client.raw("/api/v1/instances", **only))
            return
        if any(one.instances for one in found):
            print_all([render.instances_table(found), *render.instance_notes(found)])
        else:
            print_all([Text("No instances. `spinney scale SERVICE N` makes some.")])


def _services(client: Client, name: str | None) -> list[Service]:
    found = client.get("/api/services", list[Service])
    return found if name is None else [find_service(found, name)]


def _applications(applications: list[Application], services: list[Service]) -> list[RenderableType]:
    if not applications:
        return [Text("No applications. `spinney deploy FILE` makes some.")]
    return [render.services_table(applications, services), *render.service_notes(services)]
