"""One shape for everything that goes wrong over REST: ``{"message": …, "errors": [{"path", "message"}]}``."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any

from litestar import MediaType, Request, Response
from litestar.exceptions import HTTPException
from spinney_shared.messages import EventResult, Problem

from ..auth import Denied, TooManyFailures
from ..shapes import ErrorAnswer
from .port import LogsUnavailable

logger = logging.getLogger(__name__)


class ApiError(Exception):
    """An answer that is no success: its status, a sentence, and each problem with its path."""

    def __init__(self, status: HTTPStatus, message: str, errors: Sequence[Problem] = ()) -> None:
        super().__init__(message)
        self.status, self.message, self.errors = status, message, tuple(errors)


def not_found(what: str) -> ApiError:
    """404: it is not there, or it is not the caller's."""
    return ApiError(HTTPStatus.NOT_FOUND, f"there is no {what}")


def bad(problems: Sequence[Problem]) -> ApiError:
    """400 with everything that is wrong with what was sent."""
    count = len(problems)
    return ApiError(HTTPStatus.BAD_REQUEST, f"refused: {count} problem{'s' if count != 1 else ''}", problems)


def accepted(result: EventResult) -> EventResult:
    """The result when it was accepted; else 409: what was sent is right, but it does not go with what is there."""
    if result.status == "rejected":
        words = "; ".join(problem.message for problem in result.errors)
        raise ApiError(HTTPStatus.CONFLICT, words or "refused", result.errors)
    return result


def _answer(
    status: int, message: str, errors: Sequence[Problem] = (), headers: Mapping[str, str] | None = None
) -> Response[ErrorAnswer]:
    headers = {"WWW-Authenticate": "Bearer"} if status == HTTPStatus.UNAUTHORIZED else headers
    return Response(ErrorAnswer(message, tuple(errors)), status_code=status, headers=headers, media_type=MediaType.JSON)


def _api_error(_: Request[Any, Any, Any], error: ApiError) -> Response[ErrorAnswer]:
    return _answer(error.status, error.message, error.errors)


def _http(_: Request[Any, Any, Any], error: HTTPException) -> Response[ErrorAnswer]:
    """What the framework refuses: unknown paths, wrong verbs, parameters of the wrong type."""
    listed = error.extra if isinstance(error.extra, list) else []
    errors = [Problem(str(one.get("key", "$")), str(one.get("message", ""))) for one in listed if isinstance(one, dict)]
    return _answer(error.status_code, error.detail or HTTPStatus(error.status_code).phrase, errors, error.headers)


def _unexpected(request: Request[Any, Any, Any], error: Exception) -> Response[ErrorAnswer]:
    logger.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return _answer(HTTPStatus.INTERNAL_SERVER_ERROR, "a mistake of ours; it has been logged")


def _words(status: HTTPStatus) -> Callable[[Request[Any, Any, Any], Exception], Response[ErrorAnswer]]:
    return lambda _, error: _answer(status, str(error))


HANDLERS: dict[int | type[Exception], Any] = {
    ApiError: _api_error,
    HTTPException: _http,
    Denied: _words(HTTPStatus.UNAUTHORIZED),
    TooManyFailures: _words(HTTPStatus.TOO_MANY_REQUESTS),
    LogsUnavailable: _words(HTTPStatus.SERVICE_UNAVAILABLE),
    Exception: _unexpected,
}
