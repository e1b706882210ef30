"""Listening: what instances write, and what happens."""

from __future__ import annotations

import sys
from typing import Annotated

import msgspec
import typer

from spinney import options, render
from spinney.errors import CommandError
from spinney.names import find_service
from spinney.options import Json, PasswordFile, StateDir, Url, User
from spinney.output import console, print_json, print_json_line
from spinney.shapes import Event, Service

MAX_TAIL_BYTES = 128 * 1024
TAIL_BYTES = 64 * 1024


def logs(
    service: Annotated[str, typer.Argument(metavar="SERVICE", help="The service: its name or id.")],
    number: Annotated[
        int | None, typer.Argument(metavar="NUMBER", min=0, help="Which instance.", show_default="the first")
    ] = None,
    tail_bytes: Annotated[
        int, typer.Option("--tail-bytes", min=1, max=MAX_TAIL_BYTES, help="How much of the end.")
    ] = TAIL_BYTES,
    url: Url = None,
    state_dir: StateDir = options.STATE_DIR,
    user: User = None,
    password_file: PasswordFile = None,
    as_json: Json = False,
) -> None:
    """The end of what an instance wrote to stdout and stderr."""
    with options.connect(url, state_dir, user, password_file) as client:
        one = find_service(client.get("/api/services", list[Service]), service)
        if number is None:
            number = _first(one)
        answer = client.logs(one.id, number, tail_bytes)
    if as_json:
        print_json(msgspec.json.encode(answer))
    else:
        sys.stdout.write(answer.logs)
        if not answer.logs:
            sys.stderr.write(f"instance {number} of {one.job_name} has written nothing\n")


def events(
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Until Ctrl-C. Always so: past events are not kept.")
    ] = True,
    kind: Annotated[str, typer.Option("--type", help="Only types that fit this pattern.")] = "*",
    url: Url = None,
    state_dir: StateDir = options.STATE_DIR,
    user: User = None,
    password_file: PasswordFile = None,
    as_json: Json = False,
) -> None:
    """What happens to instances, nodes, clusters and runtimes, as it happens."""
    with options.connect(url, state_dir, user, password_file) as client:
        for content in client.events(kind):
            if as_json:
                print_json_line(content)
            else:
                console().print(render.event_line(client.decoded(content, Event)))
    raise CommandError("the root ended the stream; run this again when it is back")


def _first(service: Service) -> int:
    if not service.instances:
        raise CommandError(f"{service.job_name} has no instances; `spinney scale {service.name} 1` makes one")
    return service.instances[0].number
