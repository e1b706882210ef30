"""A registry spoken to over HTTP (the OCI distribution API): manifests and blobs, nothing else.

The standard library's blocking client runs in threads: the asynchronous ones cost a node 8 MB it has better use for.
"""

from __future__ import annotations

import asyncio
import http.client
import ipaddress
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Collection
from concurrent.futures import Executor
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple, ParamSpec, TypeVar
from urllib.parse import urljoin, urlsplit

from .. import ImageUnavailable
from . import login
from .content import CHUNK
from .login import Credential
from .manifest import INDEX_TYPES, MANIFEST_TYPES, MAX_DOCUMENT, Descriptor, digest_of
from .reference import Reference

P = ParamSpec("P")
T = TypeVar("T")

TIMEOUT_S: Final = 30.0
"""A registry that says nothing for so long is away."""

_REDIRECTS: Final = (301, 302, 303, 307, 308)
_MOST_REDIRECTS: Final = 5
_LONGEST_TOKEN: Final = 64 * 1024
_ALIASES: Final = {"docker.io": "registry-1.docker.io"}


def speaks_plain_http(host: str, plain: Collection[str]) -> bool:
    """Is this registry (``host[:port]``) reached without TLS: by configuration, or because it is this machine?"""
    name = urlsplit(f"//{host}").hostname or ""
    if host in plain or name in plain or name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


class Reply(NamedTuple):
    """An answer whose body is still to be read."""

    response: http.client.HTTPResponse
    sock: socket.socket

    def close(self) -> None:
        """Close at once: the shutdown wakes a thread that still waits for bytes and would make us wait, too."""
        with suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)
        self.response.close()


class Registry:
    """Fetches what one reference names. Every method raises ImageUnavailable in words for people."""

    def __init__(
        self, ref: Reference, plain: Collection[str], credential: Credential | None, threads: Executor
    ) -> None:
        self._ref, self._credential, self._threads = ref, credential, threads
        self._plain = speaks_plain_http(ref.host, plain)
        scheme = "http" if self._plain else "https"
        self._base = f"{scheme}://{_ALIASES.get(ref.host, ref.host)}/v2/{ref.repository}/"
        self._authorization = ""

    async def manifest(self, version: str) -> tuple[Descriptor, bytes]:
        """An index or manifest by tag or digest; checked against the digest when that was given."""
        accept = ", ".join((*MANIFEST_TYPES, *INDEX_TYPES))
        with closing(await self._open(f"manifests/{version}", accept)) as reply:
            data = await self._run(_read, reply.response, MAX_DOCUMENT + 1, self._ref)
            media_type = reply.response.getheader("Content-Type", "").partition(";")[0]
        if len(data) > MAX_DOCUMENT:
            raise ImageUnavailable(f"{self._ref}: the manifest is larger than {MAX_DOCUMENT} bytes")
        descriptor = Descriptor(digest_of(data), len(data), media_type)
        if ":" in version and descriptor.digest != version:
            raise ImageUnavailable(f"{self._ref}: the registry answered another manifest ({descriptor.digest})")
        return descriptor, data

    async def blob(self, blob: Descriptor) -> AsyncIterator[bytes]:
        """The bytes of a blob; the receiver checks their size and digest."""
        with closing(await self._open(f"blobs/{blob.digest}", "*/*")) as reply:
            while data := await self._run(_read, reply.response, CHUNK, self._ref):
                yield data

    async def _run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Blocking work in one of the threads that are kept for registries."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, partial(work, *args, **kwargs))

    async def _open(self, path: str, accept: str) -> Reply:
        url, asked = self._base + path, False
        for _ in range(_MOST_REDIRECTS + 1):
            ours = urlsplit(url).netloc == urlsplit(self._base).netloc  # others do not get to see our login
            authorization = self._authorization if ours else ""
            reply = await self._run(_get, url, accept, self._ref, authorization)
            if reply.response.status == 200:
                return reply
            with closing(reply):
                if reply.response.status == 401 and ours and not asked:  # tokens run out: once for each request
                    asked = True
                    await self._log_in(reply.response.getheader("WWW-Authenticate", ""))
                elif reply.response.status in _REDIRECTS:
                    url = self._redirected(url, reply.response.getheader("Location", ""))
                else:
                    raise ImageUnavailable(_refusal(self._ref, reply.response.status))
        raise ImageUnavailable(f"{self._ref}: more than {_MOST_REDIRECTS} redirects")

    def _redirected(self, url: str, location: str) -> str:
        target = urljoin(url, location)
        if urlsplit(target).scheme not in ("https", urlsplit(self._base).scheme):
            raise ImageUnavailable(f"{self._ref}: the registry redirects to {target[:200]!r}, which is not secure")
        return target

    async def _log_in(self, header: str) -> None:
        """Find out what to send with the next request; raises ImageUnavailable when the registry wants what we lack."""
        wanted, mine = login.challenge(header), ""
        if self._credential is not None:
            mine = login.basic(self._credential.username, await self._run(_password, self._credential))
        if wanted.scheme == "bearer":
            address = login.token_address(wanted, self._ref.repository, plain=self._plain)
            with closing(await self._run(_get, address, "application/json", self._ref, mine)) as reply:
                if reply.response.status != 200:
                    raise ImageUnavailable(_refusal(self._ref, reply.response.status))
                answer = await self._run(_read, reply.response, _LONGEST_TOKEN, self._ref)
            self._authorization = login.bearer(answer)
        elif wanted.scheme == "basic" and mine:
            self._authorization = mine
        else:
            raise ImageUnavailable(_refusal(self._ref, 401))


def _password(credential: Credential) -> str:
    try:
        return Path(credential.password_file).read_text().strip()
    except (OSError, UnicodeDecodeError) as e:
        raise ImageUnavailable(f"the password file {credential.password_file} cannot be read: {e}") from e


def _refusal(ref: Reference, status: int) -> str:
    words = {
        401: "the registry wants a login, and none is configured or it is not accepted",
        403: "the registry does not allow it",
        404: "the registry does not have it",
        429: "the registry asks to slow down",
    }
    return f"{ref}: {words.get(status, f'the registry answered {status}')}"


def _get(url: str, accept: str, ref: Reference, authorization: str) -> Reply:
    parts = urlsplit(url)
    try:
        if parts.scheme == "https":
            context = ssl.create_default_context()
            connection = http.client.HTTPSConnection(parts.netloc, timeout=TIMEOUT_S, context=context)
        else:
            connection = http.client.HTTPConnection(parts.netloc, timeout=TIMEOUT_S)
        path = f"{parts.path}?{parts.query}" if parts.query else parts.path
        headers = {"Accept": accept, "User-Agent": "spinney", "Connection": "close"}
        connection.request(
            "GET", path, headers={**headers, "Authorization": authorization} if authorization else headers
        )
        sock = connection.sock
        return Reply(connection.getresponse(), sock)
    except (OSError, http.client.HTTPException, ValueError) as e:
        raise ImageUnavailable(f"{ref}: registry {parts.netloc} cannot be reached: {e}") from e


def _read(response: http.client.HTTPResponse, most: int, ref: Reference) -> bytes:
    try:
        return response.read(most)
    except (OSError, http.client.HTTPException, ValueError) as e:
        raise ImageUnavailable(f"{ref}: the registry went away in the middle: {e}") from e
