"""Applications: SLA documents in, what became of them out."""

from __future__ import annotations

from functools import partial
from http import HTTPStatus

from litestar import Router, delete, get, post, put
from litestar.params import FromPath
from spinney_shared.messages import EventResult, Problem

from .. import shapes, sla, views
from ..commands import Deploy, Undeploy, UpdateApplication
from ..sla.document import Document
from ..state import Application
from . import bodies
from .access import AnyRequest, application_of, ask, caller_of, core_of, parsed, sent
from .errors import bad


@post("/api/application", status_code=HTTPStatus.OK, opt={"body": Document})
async def create_application(request: AnyRequest) -> list[shapes.ApplicationAnswer]:
    """Register the applications of an SLA document; without ``replicas``, nothing runs until instances are asked for.

    Answers all of the caller's applications, the new ones included.
    """
    wanted = await parsed(request, partial(sla.parse, default_replicas=0))
    await ask(request, Deploy(applications=wanted))
    return views.applications(core_of(request).state, caller_of(request).user.name)


@post("/api/v1/deploy", status_code=HTTPStatus.OK, opt={"body": Document})
async def deploy(request: AnyRequest) -> EventResult:
    """Deploy an SLA document, bare or as a CloudEvent, as a deploy event does: one instance by default.

    A CloudEvent's id makes it idempotent.
    """
    return await ask(request, await parsed(request, _deploy))


@get("/api/applications")
async def list_applications(request: AnyRequest) -> list[shapes.ApplicationAnswer]:
    """The caller's applications; for admins, everybody's."""
    return views.applications(core_of(request).state, caller_of(request).owner)


@get("/api/applications/{user:str}")
async def list_applications_of(request: AnyRequest, user: FromPath[str]) -> list[shapes.ApplicationAnswer]:
    """The applications of one user; who is no admin sees only their own."""
    caller = caller_of(request)
    return views.applications(core_of(request).state, user) if caller.owner in (None, user) else []


@get("/api/application/{name:str}")
async def get_application(request: AnyRequest, name: FromPath[str]) -> shapes.ApplicationAnswer:
    """One application, by id or ``name.namespace``."""
    state = core_of(request).state
    return views.application(state, application_of(state, caller_of(request), name))


@put("/api/application/{name:str}", opt={"body": bodies.ApplicationChange})
async def change_application(request: AnyRequest, name: FromPath[str]) -> shapes.ApplicationAnswer:
    """Change the description of an application."""
    state = core_of(request).state
    wanted = await sent(request, bodies.ApplicationChange)
    one = application_of(state, caller_of(request), name)
    if wrong := _changed(wanted, one):
        raise bad(wrong)
    await ask(request, UpdateApplication(application=one.id, description=wanted.application_desc))
    return views.application(state, application_of(state, caller_of(request), one.id))


@delete("/api/application/{name:str}", status_code=HTTPStatus.OK)
async def delete_application(request: AnyRequest, name: FromPath[str]) -> shapes.MessageAnswer:
    """End an application with everything in it."""
    one = application_of(core_of(request).state, caller_of(request), name)
    await ask(request, Undeploy(application=one.id))
    return shapes.MessageAnswer(f"application {one.name}.{one.namespace} deleted")


def _deploy(raw: bytes) -> Deploy | list[Problem]:
    event, inner = sla.unwrap(raw)
    wanted = inner if isinstance(inner, list) else sla.parse(inner, default_replicas=1)
    return wanted if isinstance(wanted, list) else Deploy(event=event, applications=wanted)


def _changed(wanted: bodies.ApplicationChange, one: Application) -> list[Problem]:
    fixed = {"applicationID": one.id, "application_name": one.name, "application_namespace": one.namespace}
    return [
        Problem(f"$.{field}", f"cannot change; it is {value!r}")
        for field, value in fixed.items()
        if getattr(wanted, field) not in ("", value)
    ]


router = Router(
    "/",
    route_handlers=[
        create_application,
        deploy,
        list_applications,
        list_applications_of,
        get_application,
        change_application,
        delete_application,
    ],
    tags=["Applications"],
)
