"""The door for documents: SLA v2.0 in JSON comes in, commands' nouns or every mistake with its JSON path go out.

Nothing here knows what exists already; whether a name is taken or an id is known is for `spinney_root.decide`.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct
from spinney_shared.messages import Problem

from ..commands import NewApplication, NewMicroservice
from . import build
from .collect import problems, read_json
from .document import Document, Fragment, Microservice
from .events import parse_scale, parse_undeploy, unwrap

__all__ = [
    "Addition", "Parsed", "parse", "parse_addition", "parse_microservice", "parse_scale", "parse_undeploy", "unwrap",
]  # fmt: skip

Parsed = tuple[NewApplication, ...] | list[Problem]
"""The applications of a document, or everything that is wrong with it."""


class Addition(Struct, frozen=True):
    """Microservices to add to the application of this id."""

    application: str
    microservices: tuple[NewMicroservice, ...]


def parse(raw: bytes, *, default_replicas: int) -> Parsed:
    """The applications of an SLA document; `default_replicas` holds for microservices that do not say ``replicas``."""
    value = read_json(raw)
    if isinstance(value, Problem):
        return [value]
    found = problems(value, Document)
    if found:
        return found
    written = msgspec.convert(value, Document)
    made = [
        build.application(one, below, default_replicas, f"$.applications[{index}]")
        for index, (one, below) in enumerate(zip(written.applications, value["applications"], strict=True))
    ]
    wrong = [problem for one in made if isinstance(one, list) for problem in one]
    return wrong or tuple(one for one in made if not isinstance(one, list))


def parse_addition(raw: bytes, *, default_replicas: int) -> Addition | list[Problem]:
    """Microservices for an application that exists: an SLA document with its id, or just the id and microservices."""
    value = read_json(raw)
    if isinstance(value, Problem):
        return [value]
    if _is_document(value):
        return _addition_of_document(value, default_replicas)
    found = problems(value, Fragment)
    if found:
        return found
    written = msgspec.convert(value, Fragment)
    made = build.microservices(written.microservices, value["microservices"], default_replicas, "$")
    return made if isinstance(made, list) else Addition(written.applicationID, made)


def parse_microservice(raw: bytes, *, default_replicas: int) -> NewMicroservice | list[Problem]:
    """One microservice: the bare object, or an SLA document that holds exactly one."""
    value = read_json(raw)
    if isinstance(value, Problem):
        return [value]
    if _is_document(value):
        made = _addition_of_document(value, default_replicas, need_id=False)
        if isinstance(made, list):
            return made
        if len(made.microservices) != 1:
            return [Problem("$.applications[0].microservices", f"exactly one, not {len(made.microservices)}")]
        return made.microservices[0]
    found = problems(value, Microservice)
    if found:
        return found
    one = build.microservice(msgspec.convert(value, Microservice), value, default_replicas, "$")
    return [one] if isinstance(one, Problem) else one


def _is_document(value: Any) -> bool:
    return isinstance(value, dict) and ("applications" in value or "sla_version" in value)


def _addition_of_document(value: Any, default_replicas: int, need_id: bool = True) -> Addition | list[Problem]:
    found = problems(value, Document)
    if found:
        return found
    written = msgspec.convert(value, Document)
    if len(written.applications) != 1:
        return [Problem("$.applications", f"exactly one application here, not {len(written.applications)}")]
    application, below = written.applications[0], value["applications"][0]
    if need_id and not application.applicationID:
        return [Problem("$.applications[0].applicationID", "the id of the application to add to is missing")]
    made = build.microservices(
        application.microservices, below.get("microservices", []), default_replicas, "$.applications[0]"
    )
    return made if isinstance(made, list) else Addition(application.applicationID, made)
