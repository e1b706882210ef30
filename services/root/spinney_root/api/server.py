"""Serving the REST application inside a process that has other things to do.

uvicorn wants to own signals and the end of the process; here it gets neither: `serve` runs until it is cancelled, then
ends event streams, lets the requests under way finish, and returns.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import uvicorn
from litestar import Litestar

logger = logging.getLogger(__name__)

GRACE_S = 3
"""How long requests under way may take when the server closes."""

MAX_CONNECTIONS = 1000
"""More are answered with 503: what each may send is bounded, so the whole is."""


class CannotListen(Exception):
    """The address cannot be bound."""


class ServerStopped(Exception):
    """The server ended by itself."""


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield  # signals belong to the process, not to the server


async def serve(app: Litestar, host: str, port: int, on_bound: Callable[[int], None] = lambda _: None) -> None:
    """Serve until cancelled; `on_bound` gets the port (which the system chooses for 0). Raises CannotListen."""
    listening = _bind(host, port)
    on_bound(listening.getsockname()[1])
    logger.info("REST at http://%s:%d, its description at /api/docs", host, listening.getsockname()[1])
    server = _Server(
        uvicorn.Config(
            app,
            http="h11",
            ws="none",
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            limit_concurrency=MAX_CONNECTIONS,
            timeout_graceful_shutdown=GRACE_S,
        )
    )
    running = asyncio.create_task(server.serve(sockets=[listening]), name="REST")
    try:
        await asyncio.shield(running)
    except asyncio.CancelledError:
        app.state.closing.set()
        server.should_exit = True
        await running
        raise
    finally:
        listening.close()
    raise ServerStopped("the REST server ended by itself")


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=1024)
    except OSError as error:
        raise CannotListen(f"cannot listen on {host}:{port}: {error.strerror or error}") from error
