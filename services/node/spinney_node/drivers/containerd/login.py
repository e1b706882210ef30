"""How a registry that answers 401 wants to be asked: with a name and password, or with a token fetched elsewhere.

Pure: headers and documents in, headers and addresses out. Public images need a token as well, one without a name.
"""

from __future__ import annotations

import base64
import re
from typing import Final
from urllib.parse import urlencode, urlsplit

import msgspec
from msgspec import Struct

from .. import ImageUnavailable

_PARAMETER: Final = re.compile(r'(\w+)="([^"]*)"')


class Credential(Struct, frozen=True, forbid_unknown_fields=True):
    """A name at a registry; the password stays in a file, so that it is in no configuration and no log."""

    username: str
    password_file: str


class Challenge(Struct, frozen=True):
    """What the header WWW-Authenticate asks for."""

    scheme: str
    realm: str = ""
    service: str = ""
    scope: str = ""


class _Token(Struct):
    token: str = ""
    access_token: str = ""


def challenge(header: str) -> Challenge:
    """Read the header; one that makes no sense gives a scheme that nobody speaks."""
    scheme, _, rest = header.partition(" ")
    given = dict(_PARAMETER.findall(rest))
    return Challenge(scheme.lower(), given.get("realm", ""), given.get("service", ""), given.get("scope", ""))


def token_address(wanted: Challenge, repository: str, *, plain: bool) -> str:
    """Where to fetch a token for reading `repository`; raises ImageUnavailable when that is not secure.

    Without TLS (`plain`) only what the registry itself is trusted to be: then the token may come the same way.
    """
    parts = urlsplit(wanted.realm)
    if parts.scheme not in (("http", "https") if plain else ("https",)) or not parts.netloc:
        raise ImageUnavailable(f"the registry wants a token from {wanted.realm[:200]!r}, which is not secure")
    query = {"scope": wanted.scope or f"repository:{repository}:pull"}
    if wanted.service:
        query["service"] = wanted.service
    return f"{wanted.realm}{'&' if parts.query else '?'}{urlencode(query)}"


def bearer(answer: bytes) -> str:
    """The header value for a token server's answer; raises ImageUnavailable when there is no token in it."""
    try:
        document = msgspec.json.decode(answer, type=_Token)
    except (msgspec.DecodeError, UnicodeDecodeError) as e:
        raise ImageUnavailable(f"the token server's answer cannot be read: {e}") from e
    token = document.token or document.access_token
    if not token or not token.isascii() or not token.isprintable():
        raise ImageUnavailable("the token server gave no token")
    return f"Bearer {token}"


def basic(username: str, password: str) -> str:
    """The header value for a name and password."""
    return "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode()
