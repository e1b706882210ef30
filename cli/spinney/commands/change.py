"""Changing: deploy, scale, delete."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console

from spinney import options, render, waiting
from spinney.client import Client
from spinney.errors import CommandError
from spinney.names import find_either, find_service
from spinney.options import Json, PasswordFile, StateDir, Url, User
from spinney.output import print_all, print_json
from spinney.progress import Progress
from spinney.shapes import Application, EventResult, Service

STDIN = Path("-")
MAX_DOCUMENT_BYTES = 4 * 1024 * 1024
"""More than any root takes; what is larger is the wrong file."""

MAX_REPLICAS = 100_000

Wait = Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until everything runs.")]
Limit = Annotated[float, typer.Option("--timeout", min=0, help="Seconds to wait at most.")]


def deploy(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="An SLA document (JSON); - is stdin.")],
    wait: Wait = True,
    timeout: Limit = 300,
    url: Url = None,
    state_dir: StateDir = options.STATE_DIR,
    user: User = None,
    password_file: PasswordFile = None,
    as_json: Json = False,
) -> None:
    """Deploy the applications of an SLA document, and wait until they run."""
    document = _read(file)
    with options.connect(url, state_dir, user, password_file) as client:
        _carry_through(client, client.deploy(document), wait, timeout, as_json)


def scale(
    service: Annotated[str, typer.Argument(metavar="SERVICE", help="The service: its name or id.")],
    replicas: Annotated[int, typer.Argument(metavar="N", min=0, max=MAX_REPLICAS, help="How many instances.")],
    wait: Wait = True,
    timeout: Limit = 300,
    url: Url = None,
    state_dir: StateDir = options.STATE_DIR,
    user: User = None,
    password_file: PasswordFile = None,
    as_json: Json = False,
) -> None:
    """Run exactly N instances of a service."""
    with options.connect(url, state_dir, user, password_file) as client:
        one = find_service(client.get("/api/services", list[Service]), service)
        _carry_through(client, client.scale(one.id, replicas), wait, timeout, as_json)


def delete(
    name: Annotated[str, typer.Argument(metavar="APP_OR_SERVICE", help="The application or service: name or id.")],
    url: Url = None,
    state_dir: StateDir = options.STATE_DIR,
    user: User = None,
    password_file: PasswordFile = None,
    as_json: Json = False,
) -> None:
    """End an application with everything in it, or one service."""
    with options.connect(url, state_dir, user, password_file) as client:
        applications = client.get("/api/applications", list[Application])
        one = find_either(applications, client.get("/api/services", list[Service]), name)
        kind = "application" if isinstance(one, Application) else "service"
        answer = client.delete(f"/api/{kind}/{one.id}")
        if as_json:
            print_json(msgspec.json.encode(answer))
        else:
            print_all([answer.message])


def _read(file: Path) -> bytes:
    """The document. Raises CommandError."""
    try:
        if file == STDIN:
            content = sys.stdin.buffer.read(MAX_DOCUMENT_BYTES + 1)
        else:
            with file.open("rb") as opened:
                content = opened.read(MAX_DOCUMENT_BYTES + 1)
    except OSError as error:
        raise CommandError(f"{file} cannot be read: {error.strerror}") from error
    if len(content) > MAX_DOCUMENT_BYTES:
        raise CommandError(f"{file} has more than {MAX_DOCUMENT_BYTES:,} bytes: is it an SLA document?")
    return content


def _carry_through(client: Client, result: EventResult, wait: bool, limit_s: float, as_json: bool) -> None:
    """Say what was accepted; wait for it to run unless that is not wanted."""
    out = Console(highlight=False, stderr=as_json)  # stdout is for the JSON alone
    for name, id in result.microservices.items():
        waits = f" (waits: {result.details[name]})" if name in result.details else ""
        out.print(f"accepted: {name} ({id}){waits}", markup=False)
    services: Sequence[Service] = ()
    if wait:
        with Progress(out) as progress:
            services = waiting.until_running(client, list(result.microservices.values()), progress.show, limit_s)
    if as_json:
        print_json(msgspec.json.encode(result))
    elif services:
        print_all([render.instances_table(services)])
