"""Nonsense from the broker: counted per topic, logged once per topic, bounded, dropped."""

from __future__ import annotations

import logging

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from spinney_shared import topics
from spinney_shared.bus import Incoming
from spinney_shared.messages import MAX_MESSAGE_BYTES, Presence
from spinney_shared.receiving import Receiver

PRESENCE = topics.NODE_PRESENCE.format(cluster="c", node="n")


def test_a_message_comes_out_with_its_row_its_names_and_its_type() -> None:
    presence = Presence(id="1", session="s", online=True)
    received = Receiver().receive(Incoming(PRESENCE, msgspec.json.encode(presence), correlation=b"x"))
    assert received is not None
    assert (received.topic, received.names) == (topics.NODE_PRESENCE, {"cluster": "c", "node": "n"})
    assert (received.message, received.correlation) == (presence, b"x")


def test_a_users_document_comes_as_it_is() -> None:
    received = Receiver().receive(Incoming(topics.DEPLOY.format(), b"\xff not json"))
    assert received is not None
    assert received.message == b"\xff not json"


def test_a_field_of_a_newer_release_is_skipped() -> None:
    received = Receiver().receive(Incoming(PRESENCE, b'{"id":"1","session":"s","online":true,"mood":"good"}'))
    assert received is not None


@pytest.mark.parametrize(
    "payload",
    [b"{", b"[]", b"null", b'"x"', b"\xff\xfe", b'{"id":1,"session":"s","online":true}', b'{"id":"1"}',
     b"[" * 100_000, b'{"id":"\\ud800","session":"s","online":true}', b"x" * (MAX_MESSAGE_BYTES + 1)],
)  # fmt: skip
def test_what_cannot_be_decoded_is_counted_and_logged_once(payload: bytes, caplog: pytest.LogCaptureFixture) -> None:
    receiver = Receiver()
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert receiver.receive(Incoming(PRESENCE, payload)) is None
    assert receiver.dropped == {PRESENCE: 3}
    assert len(caplog.records) == 1
    assert PRESENCE in caplog.text


def test_a_cleared_retained_message_is_no_mistake() -> None:
    receiver = Receiver()
    assert receiver.receive(Incoming(PRESENCE, b"")) is None
    assert not receiver.dropped


def test_the_memory_for_nonsense_is_bounded(caplog: pytest.LogCaptureFixture) -> None:
    receiver = Receiver()
    with caplog.at_level(logging.WARNING):
        for number in range(Receiver.LIMIT + 500):
            receiver.receive(Incoming(f"{'x' * 60_000}/{number}"[-60_000:], b"x"))
            receiver.receive(Incoming(f"topic/{number}", b"x"))
    assert len(receiver.dropped) <= Receiver.LIMIT + 1
    assert receiver.dropped["other"] > 0
    assert max(len(topic) for topic in receiver.dropped) <= 200
    assert len(caplog.records) <= Receiver.LIMIT + 1


def test_a_topic_cannot_write_lines_of_its_own_into_the_log(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        Receiver().receive(Incoming("a\nERROR all is lost", b"x"))
    assert "\n" not in caplog.records[0].getMessage()


@given(topic=st.text(max_size=40), payload=st.binary(max_size=60))
def test_no_bytes_on_any_topic_raise(topic: str, payload: bytes) -> None:
    receiver = Receiver()
    receiver.receive(Incoming(topic, payload))
    for row in topics.ALL:
        receiver.receive(Incoming(row.filter().replace("+", "x"), payload))
