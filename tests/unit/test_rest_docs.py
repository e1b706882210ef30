"""REST describes itself truthfully, and needs nobody else's files to show it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from litestar.handlers import HTTPRouteHandler
from litestar.testing import TestClient
from spinney_root.api.docs import _ERRORS

from tests.documents import changed
from tests.rest_root import PASSWORD, FakeCore, app, door

Client = TestClient[Any]

NO_JSON = {"/api/v1/events", "/api/docs", "/docs/openapi.json", "/api/docs/assets"}
"""What is no part of the API, or no JSON."""

TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,), "integer": (int,), "number": (int, float), "boolean": (bool,), "array": (list,),
    "object": (dict,), "null": (type(None),),
}  # fmt: skip


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with door(FakeCore().join()) as client:
        yield client


@pytest.fixture(scope="module")
def document(client: Client) -> dict[str, Any]:
    return client.get("/docs/openapi.json").json()


def wrong(document: dict[str, Any], schema: dict[str, Any], value: Any, at: str = "$") -> list[str]:
    """Where the value is not as the schema says; knows the words that our description uses."""
    if name := schema.get("$ref"):
        return wrong(document, document["components"]["schemas"][name.rpartition("/")[2]], value, at)
    if choices := schema.get("oneOf") or schema.get("anyOf"):
        tried = [wrong(document, one, value, at) for one in choices]
        return [] if [] in tried else tried[0]
    if "enum" in schema:
        return [] if value in schema["enum"] else [f"{at}: {value!r} is not in {schema['enum']}"]
    types = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    if not any(isinstance(value, TYPES[one]) for one in types):
        return [f"{at}: {value!r} is no {types}"]
    if isinstance(value, list):
        return [bad for i, one in enumerate(value) for bad in wrong(document, schema["items"], one, f"{at}[{i}]")]
    if isinstance(value, dict):
        return _wrong_object(document, schema, value, at)
    return []


def _wrong_object(document: dict[str, Any], schema: dict[str, Any], value: dict[str, Any], at: str) -> list[str]:
    found = [f"{at}.{name}: missing" for name in schema.get("required", []) if name not in value]
    known, other = schema.get("properties", {}), schema.get("additionalProperties")
    for name, one in value.items():
        below = known.get(name, other)
        if isinstance(below, dict):
            found += wrong(document, below, one, f"{at}.{name}")
        elif known and name not in known:
            found.append(f"{at}.{name}: not described")
    return found


def answers(document: dict[str, Any], path: str, verb: str, status: int) -> dict[str, Any]:
    return document["paths"][path][verb]["responses"][str(status)]["content"]["application/json"]["schema"]


def test_the_checker_finds_what_is_wrong(document: dict[str, Any]) -> None:
    schema = answers(document, "/healthz", "get", 200)
    assert wrong(document, schema, {"message": "x"}) == []
    for bad in ({}, {"message": 5}, {"message": "x", "more": 1}, []):
        assert wrong(document, schema, bad)


def test_every_route_is_described(document: dict[str, Any]) -> None:
    routes = {
        (getattr(route, "path_format", route.path), verb.lower())
        for route in app.routes
        for handler in getattr(route, "route_handlers", ())
        if isinstance(handler, HTTPRouteHandler)
        for verb in handler.http_methods
        if verb not in ("OPTIONS", "HEAD")
    }
    described = {(path, verb) for path, verbs in document["paths"].items() for verb in verbs}
    assert described <= routes
    ours = {(path, verb) for path, verb in routes if not path.startswith(("/api/docs", "/docs"))}
    assert ours == described
    assert len(ours) >= 28


def test_every_operation_says_what_it_does_takes_and_answers(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    names = [operation["operationId"] for verbs in document["paths"].values() for operation in verbs.values()]
    assert len(names) == len(set(names))
    for path, verbs in document["paths"].items():
        for verb, operation in verbs.items():
            assert operation["description"], path
            assert set(operation["responses"]) == {"200", *_ERRORS}, path
            assert (verb == "put") <= ("requestBody" in operation), path
            placed = {one["name"] for one in operation.get("parameters", ()) if one["in"] == "path"}
            assert placed == set(re.findall(r"{(\w+)}", path))
    for name in re.findall(r'"#/components/schemas/(\w+)"', str(document).replace("'", '"')):
        assert name in schemas, name
    assert document["components"]["securitySchemes"]["bearer"]["scheme"] == "bearer"
    assert document["security"] == [{"bearer": []}]


def test_only_what_needs_no_login_says_so(document: dict[str, Any]) -> None:
    free = {path for path, verbs in document["paths"].items() for one in verbs.values() if one.get("security") == [{}]}
    assert free == {"/api/auth/login", "/healthz", "/readyz"}


def test_what_is_answered_is_as_described(document: dict[str, Any]) -> None:
    core = FakeCore().join()
    with door(core) as admin:
        steps: list[tuple[str, str, Any]] = [
            ("post", "/api/auth/login", {"username": "Admin", "password": PASSWORD}),
            ("post", "/api/application", changed(virtualization="runc", port="80")),
        ]
        found = [(verb, path, path, admin.request(verb, path, json=body)) for verb, path, body in steps]
        application = found[-1][3].json()[0]
        known = {
            "user": "Admin", "application": application["applicationID"], "name": application["microservices"][0],
            "number": "0",
        }  # fmt: skip
        core.log = "hello"
        found.append(put(admin, "put", "/api/v1/services/{name}/replicas", known, {"replicas": 2}))
        core.runs(known["name"])
        for path in document["paths"]:
            if "get" in document["paths"][path] and path not in NO_JSON:
                of = {**known, "name": "Admin"} if path in ("/api/user/{name}", "/api/permission/{name}") else known
                of = {**known, "name": known["application"]} if path == "/api/application/{name}" else of
                found.append(put(admin, "get", path, of))
        found.append(put(admin, "post", "/api/service/{name}/instance", known))
        found.append(put(admin, "delete", "/api/service/{name}/instance/{number}", known))
        found.append(put(admin, "delete", "/api/service/{name}", known))
    assert len(found) >= 22
    for verb, path, url, answer in found:
        assert answer.status_code == 200, (verb, url, answer.text)
        assert wrong(document, answers(document, path, verb, 200), answer.json()) == [], url


def put(client: Client, verb: str, path: str, names: dict[str, str], body: Any = None) -> tuple[str, str, str, Any]:
    url = path.format(**names)
    return verb, path, url, client.request(verb, url, json=body)


def test_errors_are_as_described(document: dict[str, Any], client: Client) -> None:
    schema = answers(document, "/api/application", "post", 400)
    for answer in (
        client.post("/api/application", json=changed(memory="x", colour="red")),
        client.get("/api/v1/instances", params={"limit": "x"}),
        client.get("/nothing"),
        client.get("/api/applications", headers={"Authorization": "Bearer x"}),
    ):
        assert answer.status_code >= 400
        assert wrong(document, schema, answer.json()) == [], answer.text


def test_being_unready_is_as_described(document: dict[str, Any]) -> None:
    core = FakeCore()
    core.missing = ["the MQTT broker is out of reach"]
    with door(core, None) as nobody:
        answer = nobody.get("/readyz")
    assert wrong(document, answers(document, "/readyz", "get", 503), answer.json()) == []


def test_documents_are_described_field_by_field(document: dict[str, Any]) -> None:
    """The users' document fits the description of bodies."""
    assert wrong(document, {"$ref": "#/components/schemas/Document"}, changed()) == []
    assert wrong(document, {"$ref": "#/components/schemas/Document"}, changed(bandwith_out=1))


def test_the_page_and_its_files_come_from_us(client: Client) -> None:
    page = client.get("/api/docs", headers={"Authorization": ""})
    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/html")
    linked = re.findall(r"""(?:src|href|url)\s*[=:]\s*["']([^"']+)""", page.text)
    assert len(linked) == 4
    for address in linked:
        assert address.startswith("/"), "somebody else's file"
        answer = client.get(address, headers={"Authorization": ""})
        assert answer.status_code == 200, address
        assert len(answer.content) > 1000
    kinds = {"swagger-ui.css": "text/css", "swagger-ui-bundle.js": "text/javascript"}
    for name, kind in kinds.items():
        assert client.get(f"/api/docs/assets/{name}").headers["content-type"].startswith(kind)


@pytest.mark.parametrize("name", ["../__init__.py", "%2e%2e/__init__.py", "..%2f__init__.py", "/etc/passwd", "nothing"])
def test_other_files_are_not_served(client: Client, name: str) -> None:
    assert client.get(f"/api/docs/assets/{name}").status_code == 404
