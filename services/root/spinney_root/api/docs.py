"""The API's description: OpenAPI at ``/docs/openapi.json`` and Swagger UI at ``/api/docs``, files served by us.

Bodies are read by our own checks (which report every mistake), so the framework does not know their types; handlers
name them in ``opt["body"]``, and they are put into the document here.
"""

from __future__ import annotations

from importlib.metadata import distribution
from pathlib import Path
from typing import Any, Final

import msgspec
from litestar import Litestar, MediaType, Request, Response, Router, get
from litestar.handlers import HTTPRouteHandler
from litestar.static_files import create_static_files_router

from ..shapes import ErrorAnswer

ASSETS: Final = Path(str(distribution("swagger-ui-py").locate_file("swagger_ui/static")))
"""Found without importing the package: it would load a template engine that nothing here needs."""

_REF: Final = "#/components/schemas/{name}"
_ERRORS: Final = {
    "400": "refused: every problem with its path",
    "401": "no token, or not a valid one",
    "403": "not allowed",
    "404": "not there",
    "409": "does not go with what is there",
    "413": "too large",
    "429": "too many attempts",
    "503": "cannot be done at the moment",
}

_PAGE: Final = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>Spinney API</title>
<link rel="icon" type="image/png" href="/api/docs/assets/favicon-32x32.png">
<link rel="stylesheet" href="/api/docs/assets/swagger-ui.css">
</head>
<body>
<div id="swagger-ui"></div>
<script src="/api/docs/assets/swagger-ui-bundle.js"></script>
<script>
SwaggerUIBundle({
  url: "/docs/openapi.json", dom_id: "#swagger-ui", validatorUrl: null, persistAuthorization: false
});
</script>
</body>
</html>
"""


@get("/docs/openapi.json", opt={"public": True}, include_in_schema=False, sync_to_thread=False)
def openapi(request: Request[Any, Any, Any]) -> Response[bytes]:
    """The description of all paths."""
    document = request.app.state.get("openapi")
    if document is None:
        document = request.app.state.openapi = msgspec.json.encode(describe(request.app))
    return Response(document, media_type=MediaType.JSON)


@get("/api/docs", opt={"public": True}, include_in_schema=False, media_type=MediaType.HTML, sync_to_thread=False)
def page() -> str:
    """Swagger UI."""
    return _PAGE


def describe(app: Litestar) -> dict[str, Any]:
    """The OpenAPI document: the framework's, with our bodies and our errors."""
    document = app.openapi_schema.to_schema()
    bodies = _bodies(app)
    schemas = document["components"].setdefault("schemas", {})
    _, ours = msgspec.json.schema_components([*bodies.values(), ErrorAnswer], ref_template=_REF)
    schemas.update(ours)
    for path, verbs in document["paths"].items():
        for verb, operation in verbs.items():
            if isinstance(operation, dict) and "responses" in operation:
                _complete(operation, bodies.get((path, verb)))
    return document


def _bodies(app: Litestar) -> dict[tuple[str, str], type]:
    found: dict[tuple[str, str], type] = {}
    for route in app.routes:
        for handler in getattr(route, "route_handlers", ()):
            if isinstance(handler, HTTPRouteHandler) and "body" in handler.opt:
                path = getattr(route, "path_format", route.path)
                found.update({(path, verb.lower()): handler.opt["body"] for verb in handler.http_methods})
    return found


def _complete(operation: dict[str, Any], body: type | None) -> None:
    operation["responses"].pop("400", None)  # the framework's shape, which is never sent
    for status, words in _ERRORS.items():
        if status in operation["responses"]:
            continue  # the handler says more about it
        operation["responses"][status] = {"description": words, "content": _content("ErrorAnswer")}
    if body is not None:
        operation["requestBody"] = {"required": True, "content": _content(body.__name__)}


def _content(name: str) -> dict[str, Any]:
    return {"application/json": {"schema": {"$ref": _REF.format(name=name)}}}


def routers() -> list[Router]:
    """The page, the document and the files."""
    assets = create_static_files_router(
        path="/api/docs/assets", directories=[ASSETS], opt={"public": True}, include_in_schema=False
    )
    return [Router("/", route_handlers=[openapi, page]), assets]
