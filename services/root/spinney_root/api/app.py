"""The REST application: which doors there are, and what stands before all of them."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import anyio
from litestar import Litestar
from litestar.datastructures import State as AppState
from litestar.openapi.config import OpenAPIConfig
from litestar.openapi.spec import Components, SecurityScheme

from ..auth import Logins
from . import applications, docs, login, overview, services, stream
from .access import logged_in
from .errors import HANDLERS
from .port import ApiSettings, Core


def create_app(core: Core, settings: ApiSettings = ApiSettings()) -> Litestar:  # noqa: B008 (it is immutable)
    """The ASGI application around a core."""
    return Litestar(
        route_handlers=[
            login.router,
            applications.router,
            services.router,
            overview.router,
            stream.router,
            *docs.routers(),
        ],
        guards=[logged_in],
        exception_handlers=HANDLERS,
        state=AppState(shared(core, settings), deep_copy=False),
        openapi_config=_openapi(settings),
        logging_config=None,  # logging is set up once, for the whole process
        request_max_body_size=None,  # `access.body_of` limits bodies, and says so in our shape
        pdb_on_exception=False,
    )


def shared(core: Core, settings: ApiSettings) -> dict[str, Any]:
    """What the handlers of one application share."""
    return {
        "core": core,
        "settings": settings,
        "logins": Logins(time.monotonic),
        "parsing": anyio.CapacityLimiter(1),  # documents that take long wait for each other, nobody for them
        "closing": asyncio.Event(),
    }


def _openapi(settings: ApiSettings) -> OpenAPIConfig:
    bearer = SecurityScheme(type="http", scheme="bearer", bearer_format="JWT")
    return OpenAPIConfig(
        title="Spinney root",
        version=settings.version,
        description="Applications, services, clusters, nodes and runtimes. Log in at /api/auth/login first.",
        components=Components(security_schemes={"bearer": bearer}),
        security=[{"bearer": []}],
        use_handler_docstrings=True,
        path="/docs/framework",
        render_plugins=[],
    )
