"""What waits for the broker is bounded, in order, and counted when it is dropped."""

from __future__ import annotations

import itertools

import pytest
from spinney_shared.bus import Outgoing
from spinney_shared.bus import outbox as module
from spinney_shared.bus.mqtt import delays
from spinney_shared.bus.outbox import Counters, Outbox


def message(n: int, keep: bool) -> Outgoing:
    return Outgoing(f"t/{n}", b"", keep=keep)


def drained(outbox: Outbox) -> list[str]:
    return [outbox.take().topic for _ in range(len(outbox))]


def test_while_away_the_oldest_kept_message_goes_first_when_full() -> None:
    counters = Counters()
    outbox = Outbox(counters, limit=3)
    for n in range(5):
        outbox.hold_if_kept(message(n, keep=True))
        outbox.hold_if_kept(message(100 + n, keep=False))
    assert counters.dropped == 2 + 5
    assert drained(outbox) == ["t/2", "t/3", "t/4"]
    with pytest.raises(IndexError):
        outbox.take()


def test_what_was_queued_for_a_broker_that_then_went_is_thinned_out() -> None:
    counters = Counters()
    outbox = Outbox(counters, limit=2)
    for n in range(6):
        outbox.hold(message(n, keep=n % 2 == 0))
    outbox.forget_unkept()
    assert drained(outbox) == ["t/2", "t/4"]
    assert counters.dropped == 4


def test_a_slow_broker_does_not_eat_our_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BACKLOG_LIMIT", 2)
    counters = Counters()
    outbox = Outbox(counters)
    for n in range(5):
        outbox.hold(message(n, keep=True))
    assert drained(outbox) == ["t/3", "t/4"]
    assert counters.dropped == 3


def test_attempts_to_connect_slow_down_and_do_not_march_in_step() -> None:
    assert list(itertools.islice(delays(lambda: 0.0), 7)) == [0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]
    assert next(delays(lambda: 1.0)) == 0.1
