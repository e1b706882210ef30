"""What a node says of its runtimes since its start: broker and databases also remember what it said before."""

from __future__ import annotations

import anyio
import msgspec
from anyio.abc import Process
from anyio.streams.buffered import BufferedByteReceiveStream
from msgspec import Struct

from spinney.shapes import Runtime
from spinney.stack import Stack, StackError
from spinney.stack.services import CLUSTER_NAME, watcher_login
from spinney.stack.settings import inherited_environment
from spinney.stack.tools import program

LIMIT_S = 60
"""Verification takes a second or two; only a runtime that hangs makes it long, and each has its own deadline."""

_MAX_LINE = 1024 * 1024
_NODES = f"spinney/v1/cluster/{CLUSTER_NAME}/node"


class Told(Struct, frozen=True):
    """Name and runtimes, as the node tells them."""

    name: str
    runtimes: tuple[Runtime, ...] = ()


class Message(Struct, frozen=True):
    """A node's presence, or its announcement (then with `node`)."""

    session: str
    node: Told | None = None


class Announcements:
    """Pairs presence and announcement: only those of the same session belong together."""

    def __init__(self) -> None:
        self._sessions: dict[str, str] = {}
        self._told: dict[str, Message] = {}

    def hear(self, topic: str, payload: bytes) -> Told | None:
        """Take in one message; what the node told in its present session, once that is known."""
        id, _, what = topic.removeprefix(f"{_NODES}/").partition("/")
        message = msgspec.json.decode(payload, type=Message)
        if what == "presence":
            self._sessions[id] = message.session
        else:
            self._told[id] = message
        told = self._told.get(id)
        return told.node if told is not None and told.session == self._sessions.get(id) else None


async def announcement(stack: Stack) -> Told:
    """What the first node that announces itself tells. Raises StackError when none does."""
    command = [program("mosquitto_sub", "mosquitto-clients"), "-F", "%t %p", "-q", "1", "-W", str(LIMIT_S)]
    for what in ("presence", "announce"):
        command += ["-t", f"{_NODES}/+/{what}"]
    login = {**inherited_environment(), "XDG_CONFIG_HOME": str(watcher_login(stack.folder))}
    async with await anyio.open_process(command, env=login) as process:
        try:
            return await _first(process)
        except (anyio.EndOfStream, anyio.IncompleteRead) as error:
            raise StackError(f"no node has told what it can run within {LIMIT_S} s") from error
        finally:
            if process.returncode is None:
                process.terminate()


async def _first(process: Process) -> Told:
    """The first complete announcement. Raises EndOfStream or IncompleteRead when the process ends before."""
    assert process.stdout is not None
    lines, heard = BufferedByteReceiveStream(process.stdout), Announcements()
    while True:
        topic, _, payload = (await lines.receive_until(b"\n", _MAX_LINE)).partition(b" ")
        told = heard.hear(topic.decode(), payload)
        if told is not None:
            return told
