"""The root's REST API for this command: typed answers, and errors that say what to do next."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TypeVar
from urllib.parse import quote

import httpx
import msgspec

from . import shapes
from .errors import CommandError, Refused, RootUnreachable
from .login import Login
from .place import Place

T = TypeVar("T")

TIMEOUT_S = 30.0
"""For a whole answer; far more than any takes, so that only a root that hangs meets it."""

NO_PATIENCE_S = 5.0
"""For the connection itself."""


class Client:
    """One root. Every method raises RootUnreachable, NotLoggedIn or Refused; use it as a context manager."""

    def __init__(self, place: Place, login: Login, transport: httpx.BaseTransport | None = None) -> None:
        self.place, self._login = place, login
        timeout = httpx.Timeout(TIMEOUT_S, connect=NO_PATIENCE_S)
        # A root is spoken to directly: a proxy of the surroundings must not see its tokens.
        self._http = httpx.Client(base_url=place.url, auth=login, timeout=timeout, transport=transport, trust_env=False)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def get(self, path: str, kind: type[T], **query: str | int) -> T:
        """What is at this path, as `kind`."""
        return self.decoded(self.raw(path, **query), kind)

    def raw(self, path: str, **query: str | int) -> bytes:
        """What is at this path, as JSON."""
        return self._send("GET", path, params=query)

    def decoded(self, content: bytes, kind: type[T]) -> T:
        """The JSON as `kind`. Raises CommandError when it is something else."""
        try:
            return msgspec.json.decode(content, type=kind)
        except msgspec.DecodeError as error:
            raise CommandError(f"{self.place.url} did not answer as a root of this version does: {error}") from error

    def ready(self) -> shapes.Ready:
        """Whether the root can do its work; needs no login."""
        try:
            response = self._http.get("/readyz", auth=None)
        except httpx.TransportError as error:
            raise _unreachable(self.place, error) from error
        return self.decoded(response.content, shapes.Ready)

    def deploy(self, document: bytes) -> shapes.EventResult:
        """Deploy an SLA document; Refused carries every problem of it."""
        return self.decoded(self._send("POST", "/api/v1/deploy", content=document), shapes.EventResult)

    def scale(self, service: str, replicas: int) -> shapes.EventResult:
        """Run exactly this many instances of the service with this id."""
        body = msgspec.json.encode({"replicas": replicas})
        return self.decoded(
            self._send("PUT", f"/api/v1/services/{quote(service, safe='')}/replicas", content=body), shapes.EventResult
        )

    def delete(self, path: str) -> shapes.MessageAnswer:
        """Delete what is at this path."""
        return self.decoded(self._send("DELETE", path), shapes.MessageAnswer)

    def logs(self, service: str, number: int, tail_bytes: int) -> shapes.Logs:
        """The end of an instance's log."""
        path = f"/api/v1/instances/{quote(service, safe='')}/{number}/logs"
        return self.get(path, shapes.Logs, tail_bytes=tail_bytes)

    def events(self, kind: str = "*") -> Iterator[bytes]:
        """Lifecycle events as JSON, from now on, until the root ends the stream."""
        patient = httpx.Timeout(None, connect=NO_PATIENCE_S)
        try:
            with self._http.stream("GET", "/api/v1/events", params={"type": kind}, timeout=patient) as response:
                if response.status_code != httpx.codes.OK:
                    response.read()
                    raise _refused(response)
                for line in response.iter_lines():
                    if data := line.removeprefix("data:").strip() if line.startswith("data:") else "":
                        yield data.encode()
        except httpx.TransportError as error:
            raise _unreachable(self.place, error) from error

    def log_in(self) -> None:
        """Get a token now, not with the first request."""
        self.raw("/api/clusters")

    def _send(
        self, verb: str, path: str, content: bytes | None = None, params: dict[str, str | int] | None = None
    ) -> bytes:
        headers = {"Content-Type": "application/json"} if content is not None else {}
        try:
            response = self._http.request(verb, path, content=content, params=params, headers=headers)
        except httpx.TransportError as error:
            raise _unreachable(self.place, error) from error
        if not response.is_success:
            raise _refused(response)
        return response.content


def _unreachable(place: Place, error: httpx.TransportError) -> RootUnreachable:
    words = re.sub(r"^\[Errno -?\d+\] ", "", str(error)) or type(error).__name__
    return RootUnreachable(place.url, words)


def _refused(response: httpx.Response) -> CommandError:
    try:
        answer = msgspec.json.decode(response.content, type=shapes.ErrorAnswer)
    except msgspec.DecodeError:
        where = f"{response.request.method} {response.url}"
        return CommandError(f"{where} answered {response.status_code}, not as a root does: is it another program?")
    return Refused(response.status_code, answer.message, answer.errors)
