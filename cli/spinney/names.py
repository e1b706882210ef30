"""What a person means by a name: an id, the whole name, or the short one where only one thing has it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

from .errors import NoSuchName
from .shapes import Application, Service

T = TypeVar("T")


def whole_name(application: Application) -> str:
    """``name.namespace``."""
    return f"{application.name}.{application.namespace}"


def find_application(applications: Sequence[Application], name: str) -> Application:
    """The application of this id, ``name.namespace`` or name. Raises NoSuchName."""
    return _find("application", applications, name, lambda a: ({a.id, whole_name(a)}, {a.name}), whole_name)


def find_service(services: Sequence[Service], name: str) -> Service:
    """The service of this id, job name, ``name.namespace`` or name. Raises NoSuchName."""
    return _find(
        "service",
        services,
        name,
        lambda s: ({s.id, s.job_name}, {s.name, f"{s.name}.{s.namespace}"}),
        lambda s: s.job_name,
    )


def find_either(applications: Sequence[Application], services: Sequence[Service], name: str) -> Application | Service:
    """The application or service of this name, applications first. Raises NoSuchName."""
    for find in (partial(find_application, applications), partial(find_service, services)):
        try:
            return find(name)
        except NoSuchName as error:
            if error.fitting:
                raise
    known = [*(whole_name(a) for a in applications), *(s.job_name for s in services)]
    raise NoSuchName("application or service", name, [], known)


def _find(
    kind: str,
    things: Sequence[T],
    name: str,
    names: Callable[[T], tuple[set[str], set[str]]],
    shown: Callable[[T], str],
) -> T:
    """The only thing that has this name for certain, else the only one that may be meant by it."""
    for certainty in (0, 1):
        fitting = [thing for thing in things if name in names(thing)[certainty]]
        if len(fitting) == 1:
            return fitting[0]
        if fitting:
            raise NoSuchName(kind, name, [shown(thing) for thing in fitting], [])
    raise NoSuchName(kind, name, [], [shown(thing) for thing in things])
