"""Events from other systems by MQTT: read, carry out, and make the answer that goes back."""

from __future__ import annotations

import re

from msgspec.structs import replace
from spinney_shared import topics
from spinney_shared.deciding import Now, Send
from spinney_shared.messages import EventResult, Problem
from spinney_shared.receiving import Received

from . import sla
from .carry_out import carry_out
from .commands import Deploy, Scale, Undeploy
from .state import State

EVENT_USER = "Admin"
"""Whose applications those deployed by events are: whoever may publish to the broker speaks for the operator."""

DEEPEST = 30
"""Slashes in a response topic; mosquitto ends the connection of a publisher at 200."""

MAX_ERRORS = 200
"""Errors listed in one answer; a document with more is not being mended from the list."""


def on_event(state: State, received: Received, now: Now) -> Send:
    """Carry the event out and address the answer to where its sender listens."""
    id, inner = sla.unwrap(received.message)
    cause = state.ids()
    command = _command(received.topic, inner) if isinstance(inner, bytes) else inner
    if isinstance(command, list):
        result = EventResult(event=id or cause, status="rejected", errors=_bounded(command))
    else:
        result = carry_out(state, replace(command, event=id, user=EVENT_USER, admin=True), cause, now)
    topic = received.response_topic
    if not acceptable(topic):
        topic = topics.RESULT.format(event=_as_name(result.event))
    return Send(topic, result, keep=True, correlation=received.correlation)


def _command(topic: topics.Topic, raw: bytes) -> Deploy | Undeploy | Scale | list[Problem]:
    if topic == topics.UNDEPLOY:
        return sla.parse_undeploy(raw)
    if topic == topics.SCALE:
        return sla.parse_scale(raw)
    parsed = sla.parse(raw, default_replicas=1)
    return parsed if isinstance(parsed, list) else Deploy(applications=parsed)


def _bounded(problems: list[Problem]) -> tuple[Problem, ...]:
    more = len(problems) - MAX_ERRORS
    return (*problems[:MAX_ERRORS], *([Problem("$", f"and {more} more")] if more > 0 else []))


def acceptable(response_topic: str) -> bool:
    """Whether an answer may be published there: a plain topic that is not one of ours, except the result topics."""
    if not response_topic.isprintable() or not 0 < len(response_topic.encode()) <= 512:
        return False  # some brokers hang up on whoever publishes to a topic with strange characters, or a very deep one
    if re.search(r"[+#]|^\$", response_topic) or response_topic.count("/") > DEEPEST:
        return False
    return not response_topic.startswith(f"{topics.ROOT}/") or topics.RESULT.match(response_topic) is not None


def _as_name(event: str) -> str:
    """The event's id in the form a topic takes; the answer itself carries it as it was."""
    name = re.sub(r"[^A-Za-z0-9._-]", "-", event)[:64].lstrip("._-")
    return name or "event"
