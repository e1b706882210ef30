"""From the broker's bytes to the decisions' messages: one place that counts, logs once and drops nonsense."""

from __future__ import annotations

import logging
from collections import Counter
from typing import Any

import msgspec
from msgspec import Struct

from . import topics
from .bus import Incoming
from .messages import MAX_MESSAGE_BYTES

log = logging.getLogger(__name__)


class Received(Struct, frozen=True):
    """A message that came by MQTT: the topic's row, the names in it, and the decoded message."""

    topic: topics.Topic
    names: dict[str, str]
    message: Any
    """Of the row's type; the raw bytes for a user's document."""
    response_topic: str = ""
    correlation: bytes = b""


class Receiver:
    """Decodes by topic. An undecodable message is counted, logged once per topic, and dropped."""

    def __init__(self) -> None:
        self.dropped: Counter[str] = Counter()
        """topic → messages dropped; at most `LIMIT` topics, the rest together under ``other``."""
        self._decoders = {row.type: msgspec.json.Decoder(row.type) for row in topics.ALL if row.type}

    LIMIT = 1_000

    def receive(self, incoming: Incoming) -> Received | None:
        """The message, or None when it was dropped."""
        found = topics.find(incoming.topic)
        if found is None:
            return self._drop(incoming.topic, "no such topic in Spinney")
        row, names = found
        if not incoming.payload and row.type is not None:
            return None  # a retained message was cleared
        message: Any = incoming.payload
        if row.type is not None:
            if len(incoming.payload) > MAX_MESSAGE_BYTES:
                return self._drop(incoming.topic, f"{len(incoming.payload)} bytes, at most {MAX_MESSAGE_BYTES} allowed")
            try:
                message = self._decoders[row.type].decode(incoming.payload)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                return self._drop(incoming.topic, str(error))
        return Received(row, names, message, incoming.response_topic, incoming.correlation)

    def _drop(self, topic: str, why: str) -> None:
        topic = topic[:200]
        known = topic in self.dropped or len(self.dropped) < self.LIMIT
        name = topic if known else "other"
        self.dropped[name] += 1
        if self.dropped[name] == 1:
            log.warning("dropped a message on %r: %s (further ones on this topic are only counted)", topic, why)
