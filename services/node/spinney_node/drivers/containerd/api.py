"""One gRPC connection to containerd, and its errors as ours.

Methods are called by name with the generated messages, so every call is typed and no generated stubs are needed.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import suppress
from typing import Final, NoReturn, TypeVar

import grpc
from google.protobuf import empty_pb2
from google.protobuf.message import Message
from grpc import aio

from .. import DriverError, EngineUnavailable
from .pb import namespaces_pb2, version_pb2

R = TypeVar("R", bound=Message)

CALL_TIMEOUT_S: Final = 30.0
"""No call that does bounded work takes longer on a machine that is well."""

_MAX_MESSAGE: Final = 16 * 1024 * 1024
"""containerd's own limit; grpc's default of 4 MiB is too small for long lists."""

_OPTIONS: Final = (
    ("grpc.max_receive_message_length", _MAX_MESSAGE),
    ("grpc.max_send_message_length", _MAX_MESSAGE),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.default_authority", "localhost"),  # the socket's path, the default, is not a legal authority
    ("grpc.use_local_subchannel_pool", 1),  # two drivers in one process do not share a broken connection
)


class NotThere(DriverError):
    """containerd does not have it."""


class AlreadyThere(DriverError):
    """containerd has it already."""


class WrongState(DriverError):
    """containerd has it, but not in a state that allows this."""


class TookTooLong(DriverError):
    """containerd did not answer within the time allowed."""


_SAME_ON_THEIR_SIDE: Final = "context deadline exceeded"
"""When containerd notices the deadline before we do, it says so under the code UNKNOWN."""

_KINDS: Final[dict[grpc.StatusCode, type[DriverError]]] = {
    grpc.StatusCode.NOT_FOUND: NotThere,
    grpc.StatusCode.ALREADY_EXISTS: AlreadyThere,
    grpc.StatusCode.FAILED_PRECONDITION: WrongState,
    grpc.StatusCode.UNAVAILABLE: EngineUnavailable,
}


class Api:
    """containerd at one socket, seen from one containerd namespace."""

    def __init__(self, socket: str, namespace: str) -> None:
        self.socket, self.namespace = socket, namespace
        self._channel = aio.insecure_channel(f"unix://{socket}", options=_OPTIONS)
        self._metadata = (("containerd-namespace", namespace),)

    async def call(
        self,
        method: str,
        request: Message,
        response: type[R],
        *,
        timeout_s: float | None = CALL_TIMEOUT_S,
        lease: str = "",
    ) -> R:
        """Call ``images.v1.Images/Get``; what it makes is kept by `lease`. Raises a DriverError of the fitting kind."""
        call = self._channel.unary_unary(
            f"/containerd.services.{method}",
            request_serializer=type(request).SerializeToString,
            response_deserializer=response.FromString,
        )
        try:
            return await call(request, timeout=timeout_s, metadata=self._with(lease))
        except aio.AioRpcError as e:
            self._raise(e, method)

    async def tell(self, method: str, request: Message, *, lease: str = "") -> None:
        """Call a method that answers nothing."""
        await self.call(method, request, empty_pb2.Empty, lease=lease)

    async def stream(self, method: str, request: Message, response: type[R]) -> AsyncGenerator[R, None]:
        """The answers of a method that streams them."""
        call = self._channel.unary_stream(
            f"/containerd.services.{method}",
            request_serializer=type(request).SerializeToString,
            response_deserializer=response.FromString,
        )(request, metadata=self._with(""))
        try:
            async for message in call:
                yield message
        except aio.AioRpcError as e:
            self._raise(e, method)
        finally:
            call.cancel()

    async def upload(self, method: str, requests: AsyncIterator[Message], response: type[R], *, lease: str = "") -> R:
        """Send a stream of messages, each answered before the next is sent; the last answer."""
        call = self._channel.stream_stream(
            f"/containerd.services.{method}",
            request_serializer=_encode,
            response_deserializer=response.FromString,
        )(metadata=self._with(lease))
        answer = response()
        try:
            async for request in requests:
                await call.write(request)
                if isinstance(received := await call.read(), response):
                    answer = received
            await call.done_writing()
            while isinstance(await call.read(), response):  # at the end it raises when the server failed
                pass
            return answer
        except aio.AioRpcError as e:
            self._raise(e, method)
        finally:
            call.cancel()

    async def connect(self) -> str:
        """Make sure containerd answers and has our namespace; its version. Raises EngineUnavailable."""
        answer = await self.call("version.v1.Version/Version", empty_pb2.Empty(), version_pb2.VersionResponse)
        wanted = namespaces_pb2.CreateNamespaceRequest(namespace=namespaces_pb2.Namespace(name=self.namespace))
        with suppress(AlreadyThere):
            await self.call("namespaces.v1.Namespaces/Create", wanted, namespaces_pb2.CreateNamespaceResponse)
        return answer.version

    async def close(self) -> None:
        """Let go of the connection."""
        await self._channel.close()

    def _with(self, lease: str) -> tuple[tuple[str, str], ...]:
        return (*self._metadata, ("containerd-lease", lease)) if lease else self._metadata

    def _raise(self, error: aio.AioRpcError, method: str) -> NoReturn:
        code, words = error.code(), error.details() or error.code().name
        if code is grpc.StatusCode.UNAVAILABLE:
            raise EngineUnavailable(f"containerd at {self.socket} does not answer: {words}") from error
        if code is grpc.StatusCode.DEADLINE_EXCEEDED or words.startswith(_SAME_ON_THEIR_SIDE):
            raise TookTooLong(f"containerd did not finish {method} in time") from error
        raise _KINDS.get(code, DriverError)(words) from error


def _encode(message: Message) -> bytes:
    return message.SerializeToString()
