"""A registry spoken to over HTTP (the OCI distribution API): manifests and blobs, nothing else.

The standard library's blocking client runs in threads: the asynchronous ones cost a node 8 MB it has better use for.
Where a registry wants a login, `Registry._open` is the one place that sees the answer 401 and its challenge.
"""

from __future__ import annotations

import asyncio
import http.client
import ipaddress
import socket
import ssl
from collections.abc import AsyncIterator, Collection
from contextlib import closing, suppress
from typing import Final, NamedTuple
from urllib.parse import urljoin, urlsplit

from .. import ImageUnavailable
from .content import CHUNK
from .manifest import INDEX_TYPES, MANIFEST_TYPES, MAX_DOCUMENT, Descriptor, digest_of
from .reference import Reference

TIMEOUT_S: Final = 30.0
"""A registry that says nothing for so long is away."""

_REDIRECTS: Final = (301, 302, 303, 307, 308)
_MOST_REDIRECTS: Final = 5
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

    def __init__(self, ref: Reference, plain: Collection[str]) -> None:
        self._ref = ref
        scheme = "http" if speaks_plain_http(ref.host, plain) else "https"
        self._base = f"{scheme}://{_ALIASES.get(ref.host, ref.host)}/v2/{ref.repository}/"

    async def manifest(self, version: str) -> tuple[Descriptor, bytes]:
        """An index or manifest by tag or digest; checked against the digest when that was given."""
        accept = ", ".join((*MANIFEST_TYPES, *INDEX_TYPES))
        with closing(await self._open(f"manifests/{version}", accept)) as reply:
            data = await asyncio.to_thread(_read, reply.response, MAX_DOCUMENT + 1, self._ref)
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
            while data := await asyncio.to_thread(_read, reply.response, CHUNK, self._ref):
                yield data

    async def _open(self, path: str, accept: str) -> Reply:
        url = self._base + path
        for _ in range(_MOST_REDIRECTS + 1):
            reply = await asyncio.to_thread(_get, url, accept, self._ref)
            if reply.response.status == 200:
                return reply
            with closing(reply):
                if reply.response.status not in _REDIRECTS:
                    raise ImageUnavailable(_refusal(self._ref, reply.response.status))
                target = urljoin(url, reply.response.getheader("Location", ""))
            if urlsplit(target).scheme not in ("https", urlsplit(self._base).scheme):
                raise ImageUnavailable(f"{self._ref}: the registry redirects to {target[:200]!r}, which is not secure")
            url = target
        raise ImageUnavailable(f"{self._ref}: more than {_MOST_REDIRECTS} redirects")


def _refusal(ref: Reference, status: int) -> str:
    words = {
        401: "the registry wants a login, and none is configured",
        403: "the registry does not allow it",
        404: "the registry does not have it",
        429: "the registry asks to slow down",
    }
    return f"{ref}: {words.get(status, f'the registry answered {status}')}"


def _get(url: str, accept: str, ref: Reference) -> Reply:
    parts = urlsplit(url)
    try:
        if parts.scheme == "https":
            context = ssl.create_default_context()
            connection = http.client.HTTPSConnection(parts.netloc, timeout=TIMEOUT_S, context=context)
        else:
            connection = http.client.HTTPConnection(parts.netloc, timeout=TIMEOUT_S)
        path = f"{parts.path}?{parts.query}" if parts.query else parts.path
        connection.request("GET", path, headers={"Accept": accept, "User-Agent": "spinney", "Connection": "close"})
        sock = connection.sock
        return Reply(connection.getresponse(), sock)
    except (OSError, http.client.HTTPException, ValueError) as e:
        raise ImageUnavailable(f"{ref}: registry {parts.netloc} cannot be reached: {e}") from e


def _read(response: http.client.HTTPResponse, most: int, ref: Reference) -> bytes:
    try:
        return response.read(most)
    except (OSError, http.client.HTTPException, ValueError) as e:
        raise ImageUnavailable(f"{ref}: the registry went away in the middle: {e}") from e
