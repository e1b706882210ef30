"""Events from other systems: bare JSON or a CloudEvent around it, and the small documents of undeploy and scale."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct
from spinney_shared.messages import Problem

from ..commands import Scale, Undeploy
from .collect import decode, problems, read_json
from .document import ScaleEvent, UndeployEvent

_Word = Annotated[str, Meta(min_length=1, max_length=1000)]


class Envelope(Struct, frozen=True):
    """A CloudEvent in structured JSON; extension attributes are allowed and skipped."""

    specversion: Literal["1.0"]
    id: Annotated[str, Meta(pattern=r"^[^\x00-\x1f\x7f]{1,128}$(?!\n)", description="1 to 128 printable characters")]
    source: _Word
    type: _Word
    data: msgspec.Raw


def unwrap(raw: bytes) -> tuple[str, bytes | list[Problem]]:
    """The event's id (empty when it is no CloudEvent) and the document inside it, or what is wrong with the envelope.

    The paths of later problems are those of the document itself.
    """
    value = read_json(raw)
    if isinstance(value, Problem):
        return "", [value]
    if not isinstance(value, dict) or "specversion" not in value:
        return "", raw
    found = problems(value, Envelope)
    if found:
        given, wrong_id = value.get("id"), any(problem.path == "$.id" for problem in found)
        return (given if isinstance(given, str) and not wrong_id else ""), found
    envelope = msgspec.json.decode(raw, type=Envelope)
    return envelope.id, bytes(envelope.data)


def parse_undeploy(raw: bytes) -> Undeploy | list[Problem]:
    """The command in an undeploy document: ``{"application": …}`` or ``{"microservice": …}``, an id or a name."""
    event = decode(raw, UndeployEvent)
    if isinstance(event, list):
        return event
    if bool(event.application) == bool(event.microservice):
        return [Problem("$", "give exactly one of application and microservice, by id or name")]
    return Undeploy(application=event.application, microservice=event.microservice)


def parse_scale(raw: bytes) -> Scale | list[Problem]:
    """The command in a scale document: ``{"microservice": id or job name, "replicas": n}``."""
    event = decode(raw, ScaleEvent)
    return event if isinstance(event, list) else Scale(microservice=event.microservice, replicas=event.replicas)
