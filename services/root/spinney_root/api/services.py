"""Services: the microservices of applications, and their instances."""

from __future__ import annotations

from functools import partial
from http import HTTPStatus
from typing import Annotated

from litestar import Router, delete, get, post, put
from litestar.params import FromPath, QueryParameter
from spinney_shared.messages import EventResult
from spinney_shared.model import InstanceKey

from .. import shapes, sla, views
from ..commands import AddInstance, AddMicroservices, RemoveInstance, Scale, Undeploy, UpdateMicroservice
from ..sla.document import Fragment, Microservice
from ..state import State
from . import bodies
from .access import AnyRequest, Caller, application_of, ask, caller_of, core_of, microservice_of, parsed, sent
from .errors import not_found

ALL_INSTANCES = -1
MAX_LOG_BYTES = 128 * 1024
"""An answer about logs must fit into one message between tiers."""


@get("/api/services")
async def list_services(request: AnyRequest) -> list[shapes.ServiceAnswer]:
    """The services of the caller's applications; for admins, everybody's."""
    state, owner = core_of(request).state, caller_of(request).owner
    found = [a for a in state.applications.values() if owner in (None, a.owner)]
    return views.services(state, sorted(found, key=lambda a: (a.created_at, a.id)))


@get("/api/services/{application:str}")
async def list_services_of(request: AnyRequest, application: FromPath[str]) -> list[shapes.ServiceAnswer]:
    """The services of one application."""
    state = core_of(request).state
    return views.services(state, [application_of(state, caller_of(request), application)])


@post("/api/service", status_code=HTTPStatus.OK, opt={"body": Fragment})
async def add_services(request: AnyRequest) -> list[shapes.ServiceAnswer]:
    """Add microservices to an application: an SLA document with its ``applicationID``, or just that and microservices.

    Answers all services of the application.
    """
    addition = await parsed(request, partial(sla.parse_addition, default_replicas=0))
    state = core_of(request).state
    one = application_of(state, caller_of(request), addition.application)
    await ask(request, AddMicroservices(application=one.id, microservices=addition.microservices))
    return views.services(state, [application_of(state, caller_of(request), one.id)])


@get("/api/service/{name:str}")
async def get_service(request: AnyRequest, name: FromPath[str]) -> shapes.ServiceAnswer:
    """One service, by id or job name."""
    return _service(core_of(request).state, caller_of(request), name)


@put("/api/service/{name:str}", opt={"body": Microservice})
async def change_service(request: AnyRequest, name: FromPath[str]) -> shapes.ServiceAnswer:
    """Replace a service's specification; its instances follow."""
    replacement = await parsed(request, partial(sla.parse_microservice, default_replicas=0))
    state, caller = core_of(request).state, caller_of(request)
    one = microservice_of(state, caller, name)
    await ask(request, UpdateMicroservice(microservice=one.id, replacement=replacement))
    return _service(state, caller, one.id)


@delete("/api/service/{name:str}", status_code=HTTPStatus.OK)
async def delete_service(request: AnyRequest, name: FromPath[str]) -> shapes.MessageAnswer:
    """End a service with all of its instances."""
    one = microservice_of(core_of(request).state, caller_of(request), name)
    await ask(request, Undeploy(microservice=one.id))
    return shapes.MessageAnswer(f"service {one.spec.job_name} deleted")


@put("/api/v1/services/{name:str}/replicas", opt={"body": bodies.ReplicasWanted})
async def scale(request: AnyRequest, name: FromPath[str]) -> EventResult:
    """Run exactly this many instances."""
    wanted = await sent(request, bodies.ReplicasWanted)
    one = microservice_of(core_of(request).state, caller_of(request), name)
    return await ask(request, Scale(microservice=one.id, replicas=wanted.replicas))


@post("/api/service/{name:str}/instance", status_code=HTTPStatus.OK)
async def add_instance(request: AnyRequest, name: FromPath[str]) -> shapes.MessageAnswer:
    """One more instance."""
    one = microservice_of(core_of(request).state, caller_of(request), name)
    result = await ask(request, AddInstance(microservice=one.id))
    waiting = "".join(f"; it waits: {why}" for why in result.details.values())
    return shapes.MessageAnswer(f"one more instance of {one.spec.job_name} is wanted{waiting}")


@delete("/api/service/{name:str}/instance/{number:int}", status_code=HTTPStatus.OK)
async def remove_instance(request: AnyRequest, name: FromPath[str], number: FromPath[int]) -> shapes.MessageAnswer:
    """End one instance, or all (-1)."""
    state, caller = core_of(request).state, caller_of(request)
    one = microservice_of(state, caller, name)
    if number != ALL_INSTANCES:
        _wanted(state, caller, name, number)
    await ask(request, RemoveInstance(microservice=one.id, number=number))
    which = "all instances" if number == ALL_INSTANCES else f"instance {number}"
    return shapes.MessageAnswer(f"{which} of {one.spec.job_name} removed")


@get("/api/v1/instances/{name:str}/{number:int}/logs")
async def logs(
    request: AnyRequest,
    name: FromPath[str],
    number: FromPath[int],
    tail_bytes: Annotated[int, QueryParameter(ge=1, le=MAX_LOG_BYTES)] = 65_536,
) -> shapes.LogsAnswer:
    """The end of an instance's log, fetched from its node."""
    at = _wanted(core_of(request).state, caller_of(request), name, number)
    return shapes.LogsAnswer(await core_of(request).logs(at, tail_bytes))


def _service(state: State, caller: Caller, name: str) -> shapes.ServiceAnswer:
    return views.service(state, microservice_of(state, caller, name))


def _wanted(state: State, caller: Caller, name: str, number: FromPath[int]) -> InstanceKey:
    at = InstanceKey(microservice_of(state, caller, name).id, number)
    found = state.instances.get(at)
    if found is None or found.removing:
        raise not_found(f"instance {number} of {name[:100]!r}")
    return at


router = Router(
    "/",
    route_handlers=[
        list_services,
        list_services_of,
        add_services,
        get_service,
        change_service,
        delete_service,
        scale,
        add_instance,
        remove_instance,
        logs,
    ],
    tags=["Services"],
)
