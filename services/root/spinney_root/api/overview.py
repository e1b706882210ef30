"""What there is: clusters, nodes, runtimes, instances; and whether the root itself is well."""

from __future__ import annotations

from http import HTTPStatus
from itertools import islice
from typing import Annotated

from litestar import Response, Router, get
from litestar.openapi import ResponseSpec
from litestar.params import FromQuery, QueryParameter

from .. import shapes, views
from ..state import Microservice
from .access import AnyRequest, application_of, caller_of, core_of, microservice_of

MAX_ROWS = 100_000


@get("/api/clusters")
async def list_clusters(request: AnyRequest) -> list[shapes.ClusterAnswer]:
    """All clusters that ever announced themselves."""
    return views.clusters(core_of(request).state)


@get("/api/clusters/active")
async def list_active_clusters(request: AnyRequest) -> list[shapes.ClusterAnswer]:
    """The clusters that are there now."""
    return views.clusters(core_of(request).state, only_active=True)


@get("/api/v1/nodes")
async def list_nodes(request: AnyRequest) -> list[shapes.NodeAnswer]:
    """All nodes with everything they said about their runtimes."""
    return views.nodes(core_of(request).state)


@get("/api/v1/runtimes")
async def list_runtimes(request: AnyRequest) -> list[shapes.RuntimeAnswer]:
    """Every runtime: on which nodes it is verified, on which it failed and why."""
    return views.runtimes(core_of(request).state)


@get("/api/v1/instances")
async def list_instances(
    request: AnyRequest,
    application: FromQuery[str | None] = None,
    microservice: FromQuery[str | None] = None,
    status: FromQuery[str | None] = None,
    limit: Annotated[int, QueryParameter(ge=1, le=MAX_ROWS)] = 1000,
) -> list[shapes.InstanceRow]:
    """Instances of the caller's services: of one application or microservice (id or name), with one status."""
    rows = views.instance_rows(core_of(request).state, _microservices(request, application, microservice), status)
    return list(islice(rows, limit))


def _microservices(request: AnyRequest, application: str | None, microservice: str | None) -> list[Microservice]:
    state, caller = core_of(request).state, caller_of(request)
    if microservice:
        return [microservice_of(state, caller, microservice)]
    if application:
        owners = [application_of(state, caller, application)]
    else:
        owners = [a for a in state.applications.values() if caller.owner in (None, a.owner)]
    return [state.microservices[id] for owner in owners for id in sorted(state.by_application.get(owner.id, ()))]


@get("/healthz", opt={"public": True}, security=[{}])
async def healthz() -> shapes.MessageAnswer:
    """The process runs."""
    return shapes.MessageAnswer("alive")


@get(
    "/readyz",
    opt={"public": True},
    security=[{}],
    responses={503: ResponseSpec(shapes.ReadyAnswer, generate_examples=False, description="what is missing")},
)
async def readyz(request: AnyRequest) -> Response[shapes.ReadyAnswer]:
    """Whether the root can do its work; 503 with what is missing when it cannot."""
    missing = tuple(core_of(request).ready())
    status = HTTPStatus.SERVICE_UNAVAILABLE if missing else HTTPStatus.OK
    return Response(shapes.ReadyAnswer(not missing, missing), status_code=status)


router = Router(
    "/",
    route_handlers=[
        list_clusters,
        list_active_clusters,
        list_nodes,
        list_runtimes,
        list_instances,
        healthz,
        readyz,
    ],
    tags=["Overview"],
)
