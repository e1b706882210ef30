"""Logins: a password becomes a short-lived token, renewed when the root no longer takes it.

`spinney login` keeps the tokens in a private file of the user's, by the root's address, so that no password has to be
kept or typed again. The local stack's password is in a file of its own, and nothing is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from pathlib import Path

import httpx
import msgspec
from msgspec import Struct

from .errors import CommandError, NotLoggedIn
from .place import Place
from .shapes import ErrorAnswer, Tokens
from .stack.files import write_private

FOLDER_MODE = 0o700

AskPassword = Callable[[Place], str | None]
"""Gets the password from a person; None when there is nobody to ask."""


class KeptLogin(Struct, frozen=True):
    """A login that `spinney login` keeps."""

    user: str
    tokens: Tokens


class KeptLogins:
    """The file with the kept logins: the root's address → the login."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def get(self, place: Place) -> Tokens | None:
        """The tokens for this root and user. Raises CommandError when the file cannot be read."""
        kept = self._read().get(place.url)
        return kept.tokens if kept is not None and kept.user == place.user else None

    def put(self, place: Place, tokens: Tokens) -> None:
        """Keep the tokens. Raises CommandError when the file cannot be written."""
        kept = {**self._read(), place.url: KeptLogin(place.user, tokens)}
        try:
            self._file.parent.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
            write_private(self._file, msgspec.json.encode(kept).decode())
        except OSError as error:
            raise CommandError(f"the login cannot be kept in {self._file}: {error.strerror}") from error

    def _read(self) -> dict[str, KeptLogin]:
        try:
            return msgspec.json.decode(self._file.read_bytes(), type=dict[str, KeptLogin])
        except FileNotFoundError:
            return {}
        except (OSError, msgspec.DecodeError) as error:
            raise CommandError(f"the kept logins in {self._file} cannot be read ({error}); delete the file") from error


class Login(httpx.Auth):
    """Puts a token on every request; gets one first when there is none, and a new one when the root refuses it.

    For synchronous clients. Only answers about logins are read here: others may be streams without an end.
    """

    def __init__(self, place: Place, ask: AskPassword, tokens: Tokens | None = None) -> None:
        self._place, self._ask = place, ask
        self.tokens = tokens

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """httpx's own protocol: requests out, answers in. Raises NotLoggedIn."""
        had = self.tokens is not None
        if not had:
            yield from self.log_in()
        response = yield self._signed(request)
        if response.status_code == httpx.codes.UNAUTHORIZED and had:
            if not (yield from self._refreshed()):
                yield from self.log_in()
            yield self._signed(request)

    def log_in(self) -> Generator[httpx.Request, httpx.Response, None]:
        """Trade the password for tokens. Raises NotLoggedIn."""
        password = self._place.password()
        if password is None:
            yield httpx.Request("GET", f"{self._place.url}/readyz")  # nobody is asked for a root that is not there
            password = self._ask(self._place)
        if password is None:
            raise NotLoggedIn(self._place.url, f"there is no password for {self._place.user}")
        body = {"username": self._place.user, "password": password}
        response = yield httpx.Request("POST", f"{self._place.url}/api/auth/login", json=body)
        response.read()
        if response.status_code != httpx.codes.OK:
            raise NotLoggedIn(self._place.url, _reason(response))
        self.tokens = _tokens(response)

    def _refreshed(self) -> Generator[httpx.Request, httpx.Response, bool]:
        """Try to get a new token without the password."""
        if self.tokens is None or not self.tokens.refresh_token:
            return False
        headers = {"Authorization": f"Bearer {self.tokens.refresh_token}"}
        response = yield httpx.Request("POST", f"{self._place.url}/api/auth/refresh", headers=headers)
        response.read()
        if response.status_code != httpx.codes.OK:
            return False
        self.tokens = Tokens(_tokens(response).token, self.tokens.refresh_token)
        return True

    def _signed(self, request: httpx.Request) -> httpx.Request:
        if self.tokens is not None:
            request.headers["Authorization"] = f"Bearer {self.tokens.token}"
        return request


def _tokens(response: httpx.Response) -> Tokens:
    try:
        return msgspec.json.decode(response.content, type=Tokens)
    except msgspec.DecodeError as error:
        raise CommandError(f"{response.url} did not answer as a root does: {error}") from error


def _reason(response: httpx.Response) -> str:
    try:
        return msgspec.json.decode(response.content, type=ErrorAnswer).message
    except msgspec.DecodeError:
        return f"{response.url} answered {response.status_code}"
