"""Events over MQTT with Debian's own client: what any system can do without a line of Spinney's code."""

from __future__ import annotations

import uuid
from functools import partial
from typing import Any

import anyio.to_thread
import msgspec

from spinney.shapes import EventResult
from spinney.stack import Stack, StackError
from spinney.stack.settings import inherited_environment
from spinney.stack.tools import program, run

from .application import cloud_event

ANSWER_LIMIT_S = 20
"""For an answer that takes milliseconds; only a root that is away meets it."""

EXIT_LIMIT_S = 10
"""For the client to connect, and to end after its own limit."""


async def publish(stack: Stack, kind: str, data: dict[str, Any]) -> EventResult:
    """Publish a deploy, undeploy or scale event and wait for its answer. Raises StackError unless it is accepted."""
    id = str(uuid.uuid4())
    command = [
        program("mosquitto_rr", "mosquitto-clients"),
        *arguments(kind, f"client/demo/{id}", cloud_event(id, kind, data)),
    ]
    # the login is in a file, so that no password stands on a command line
    told = {**inherited_environment(), "XDG_CONFIG_HOME": str(stack.folder.client)}
    limit_s = ANSWER_LIMIT_S + EXIT_LIMIT_S
    done = await anyio.to_thread.run_sync(partial(run, command, environment=told, limit_s=limit_s))
    if not done.stdout.strip():
        raise StackError(f"no answer to the {kind} event within {ANSWER_LIMIT_S} s. {done.stderr.strip()}".rstrip())
    try:
        result = msgspec.json.decode(done.stdout, type=EventResult)
    except msgspec.DecodeError as error:
        raise StackError(f"the answer to the {kind} event cannot be read: {error}") from error
    if result.status != "accepted":
        listed = "\n".join(f"  {problem.path}: {problem.message}" for problem in result.errors)
        raise StackError(f"the {kind} event was {result.status}:\n{listed}")
    return result


def arguments(kind: str, answer_topic: str, event: bytes) -> list[str]:
    """How mosquitto_rr is told to publish the event and to wait for the answer.

    The event is an argument because mosquitto_rr 2.0 publishes nothing of what it should read from a file or stdin.
    """
    words = ["-t", f"spinney/v1/events/{kind}", "-e", answer_topic, "-q", "1", "-W", str(ANSWER_LIMIT_S)]
    return [*words, "-m", event.decode()]
