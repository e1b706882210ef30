"""The sync protocol, both sides: what is said, what is believed, and what loss, repetition and hostility do."""

from __future__ import annotations

import random
from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from spinney_shared.lifecycle import RUNNING, UNDEPLOYED
from spinney_shared.messages import MAX_MESSAGE_BYTES, Desired, Observation, Presence, Report, Unwanted, Wanted
from spinney_shared.model import InstanceKey, MicroserviceSpec
from spinney_shared.sync import RESEND_AFTER_S, Member, Owner, Seen, parted, session_id

SPEC = MicroserviceSpec("ms", 1, "app.ns.svc.ns", "image")
FIRST, SECOND = session_id(1, "a"), session_id(2, "b")


def keys(*numbers: int) -> list[InstanceKey]:
    return [InstanceKey("ms", number) for number in numbers]


class Pair:
    """One owner and one member with perfect disks, and whatever lies between them."""

    def __init__(self) -> None:
        self.counter = 0
        self.owner = Owner(1)
        self.member = Member(FIRST)
        self.wanted: dict[InstanceKey, MicroserviceSpec] = {}
        self.has: dict[InstanceKey, MicroserviceSpec] = {}
        self.epoch = 1
        self.starts = 1
        self.gone: set[InstanceKey] = set()

    def id(self) -> str:
        self.counter += 1
        return str(self.counter)

    def want(self, at: InstanceKey, spec: MicroserviceSpec | None = SPEC) -> None:
        self.wanted.pop(at, None)
        if spec is not None:
            self.wanted[at] = spec
        self.owner.touch("m", at)

    def say(self, now: float) -> list[Desired]:
        flushed = self.owner.flush(now, lambda _: list(self.wanted), lambda _, at: self.wanted.get(at), self.id)
        return [desired for _, desired in flushed]

    def hear(self, desired: Desired) -> None:
        applied = self.member.on_desired(desired)
        if applied is None:
            return
        put = {InstanceKey(w.spec.id, n): w.spec for w in applied.put for n in w.numbers}
        removed = {InstanceKey(u.microservice, n) for u in applied.remove for n in u.numbers}
        if applied.full:
            removed |= set(self.has) - set(put)
        for at in removed:
            self.has.pop(at, None)
            self.gone.add(at)
        self.has |= put
        for at in removed | set(put):
            self.member.note(at)

    def observe(self, at: InstanceKey) -> Observation | None:
        if at not in self.has and at not in self.gone:
            return None
        status = RUNNING if at in self.has else UNDEPLOYED
        return Observation(microservice=at.microservice, number=at.number, generation=1, status=status)

    def report(self, now: float) -> list[Report]:
        reports = self.member.flush(now, 3.0, self.observe, lambda: [*self.has, *self.gone], self.id)
        if reports:
            self.gone.clear()
        return reports

    def believe(self, report: Report, now: float) -> Seen:
        seen = self.owner.on_report("m", report, now)
        if seen.complete is not None:
            for at in self.wanted:
                if at not in seen.complete and self.owner.knows("m", at):
                    self.owner.touch("m", at)
        return seen

    def member_restarts(self) -> None:
        self.starts += 1
        self.member = Member(session_id(self.starts, "x"), self.member.epoch, self.member.revision)

    def owner_restarts(self) -> None:
        self.epoch += 1
        self.owner = Owner(self.epoch)

    def met(self) -> Pair:
        """After a first exchange: the owner knows the session and the member has acknowledged a full set."""
        for now in (10.0, 11.0):
            for report in self.report(now):
                self.believe(report, now)
            for desired in self.say(now):
                self.hear(desired)
        for report in self.report(12.0):
            self.believe(report, 12.0)
        return self


def test_a_first_report_is_answered_by_a_full_set_and_a_full_report_is_asked_for() -> None:
    pair = Pair()
    pair.want(keys(1)[0])
    assert pair.say(10.0) == [], "nobody is there"
    (report,) = pair.report(10.0)
    assert (report.full, report.sequence, report.session) == (True, 1, FIRST)
    seen = pair.believe(report, 10.0)
    assert seen.new_session
    assert seen.came_online
    (desired,) = pair.say(10.0)
    assert (desired.base, desired.need_report, desired.session) == (None, True, FIRST)
    pair.hear(desired)
    assert set(pair.has) == set(keys(1))
    (answer,) = pair.report(10.1)
    seen = pair.believe(answer, 10.1)
    assert seen.complete == frozenset(keys(1))
    assert pair.owner.knows("m", keys(1)[0])


def test_changes_go_out_as_one_delta_with_the_specification_once() -> None:
    pair = Pair().met()
    for at in keys(1, 2, 3):
        pair.want(at)
    (desired,) = pair.say(20.0)
    assert desired.base is not None
    assert [(w.spec, w.numbers) for w in desired.put] == [(SPEC, (1, 2, 3))]
    assert pair.say(20.0) == [], "nothing is said twice within the time an answer may take"


def test_a_lost_delta_is_covered_by_a_later_one_from_what_was_acknowledged() -> None:
    pair = Pair().met()
    pair.want(keys(1)[0])
    pair.say(20.0)  # lost
    pair.want(keys(2)[0])
    (second,) = pair.say(20.1)
    pair.hear(second)
    assert pair.has == {}, "its base was never applied"
    (report,) = pair.report(20.2)
    assert report.need_full
    pair.believe(report, 20.2)
    (full,) = pair.say(20.2)
    assert full.base is None
    pair.hear(full)
    assert set(pair.has) == set(keys(1, 2))


def test_silence_about_a_delta_makes_the_owner_say_it_again() -> None:
    pair = Pair().met()
    pair.want(keys(1)[0])
    (lost,) = pair.say(20.0)
    for report in pair.report(24.0):
        pair.believe(report, 20.0 + RESEND_AFTER_S)
    (again,) = pair.say(20.0 + RESEND_AFTER_S)
    assert (again.base, again.revision, again.put) == (lost.base, lost.revision, lost.put)
    pair.hear(again)
    pair.hear(lost)
    pair.hear(again)
    assert set(pair.has) == set(keys(1))


def test_copies_and_stragglers_change_nothing() -> None:
    pair = Pair().met()
    pair.want(keys(1)[0])
    (put,) = pair.say(20.0)
    pair.hear(put)
    for report in pair.report(20.1):
        pair.believe(report, 20.1)
    pair.want(keys(1)[0], None)
    (remove,) = pair.say(21.0)
    pair.hear(remove)
    for _ in range(10):
        pair.hear(put)
        pair.hear(remove)
    assert pair.has == {}


def test_an_older_owner_is_ignored_and_a_newer_one_starts_with_a_full_set() -> None:
    pair = Pair().met()
    old = Desired(id="x", session=FIRST, epoch=0, revision=99, put=(Wanted(SPEC, (9,)),))
    pair.hear(old)
    assert pair.has == {}
    pair.hear(replace(old, epoch=2, base=5))
    assert pair.has == {}
    assert pair.member.need_full
    pair.hear(replace(old, epoch=2, revision=0))
    assert set(pair.has) == set(keys(9))
    pair.hear(Desired(id="x", session=FIRST, epoch=1, revision=100))
    assert set(pair.has) == set(keys(9))


def test_what_is_meant_for_another_session_is_ignored() -> None:
    pair = Pair().met()
    pair.hear(Desired(id="x", session=SECOND, epoch=9, revision=9, put=(Wanted(SPEC, (9,)),), need_report=True))
    assert pair.has == {}
    assert not pair.member.full_due


def test_the_will_of_an_older_session_and_late_reports_are_ignored() -> None:
    pair = Pair().met()
    pair.member_restarts()
    (report,) = pair.report(30.0)
    pair.believe(report, 30.0)
    assert not pair.owner.on_presence("m", Presence(id="p", session=FIRST, online=False), 30.1)
    assert pair.owner.peer("m").online
    assert pair.owner.on_report("m", replace(report, session=FIRST, sequence=99), 30.2).stale
    assert pair.owner.on_report("m", report, 30.3).stale, "the same one again"


def test_a_gap_in_the_reports_asks_for_a_full_one() -> None:
    pair = Pair().met()
    pair.want(keys(1)[0])
    (put,) = pair.say(20.0)
    pair.hear(put)
    pair.report(20.1)  # lost, with its news
    (late,) = pair.report(24.0)
    assert not late.full
    pair.believe(late, 24.0)
    (asks,) = pair.say(24.0)
    assert asks.need_report
    assert (asks.put, asks.remove) == ((), ())
    pair.hear(asks)
    (full,) = pair.report(24.1)
    assert pair.believe(full, 24.1).complete == frozenset(keys(1))


def test_a_full_report_in_parts_counts_when_the_last_part_is_there() -> None:
    pair = Pair().met()
    for number in range(400):
        pair.want(InstanceKey("ms", number))
    (desired,) = pair.say(20.0)
    pair.hear(desired)
    pair.member.reconnected()
    parts = pair.report(20.1)
    assert len(parts) == 3
    assert [pair.believe(part, 20.2).complete is None for part in parts] == [True, True, False]


def test_a_lost_part_of_a_full_report_completes_nothing_and_is_asked_for_again() -> None:
    pair = Pair().met()
    for number in range(400):
        pair.want(InstanceKey("ms", number))
    (desired,) = pair.say(20.0)
    pair.hear(desired)
    pair.member.reconnected()
    first, _lost, third = pair.report(20.1)
    assert pair.believe(first, 20.2).complete is None
    assert pair.believe(third, 20.2).complete is None
    (asks,) = pair.say(30.0)
    assert asks.need_report


def test_a_desired_set_in_parts_is_applied_whole_or_not_at_all() -> None:
    pair = Pair().met()
    for number in range(3000):
        spec = replace(SPEC, id=f"ms{number}", environment=("A=" + "x" * 200,))
        pair.want(InstanceKey(spec.id, 0), spec)
    parts = pair.say(20.0)
    assert len(parts) > 3
    assert max(len(msgspec.json.encode(part)) for part in parts) < MAX_MESSAGE_BYTES
    random.Random(1).shuffle(parts)
    for part in parts[:-1]:
        pair.hear(part)
        pair.hear(part)
    assert pair.has == {}
    assert pair.member.revision == 0
    pair.hear(parts[-1])
    assert pair.has == pair.wanted


def test_many_numbers_of_one_microservice_fit_into_messages() -> None:
    parts = parted([Wanted(SPEC, tuple(range(100_000)))], [Unwanted("other", tuple(range(100_000)))])
    sizes = [len(msgspec.json.encode(part)) for part in parts]
    assert max(sizes) < MAX_MESSAGE_BYTES
    assert sum(len(w.numbers) for puts, _ in parts for w in puts) == 100_000
    assert sum(len(u.numbers) for _, removes in parts for u in removes) == 100_000


@pytest.mark.parametrize(("part", "parts"), [(5, 2), (-1, 2), (2, 2), (0, 0), (0, -1), (1, 1), (7, 1)])
def test_parts_that_cannot_be_are_ignored(part: int, parts: int) -> None:
    pair = Pair().met()
    honest = Desired(id="a", session=FIRST, epoch=1, revision=5, base=0, part=0, parts=2)
    pair.hear(honest)
    pair.hear(replace(honest, part=part, parts=parts, put=(Wanted(SPEC, (9,)),)))
    assert pair.has == {}


def test_parts_of_sets_cut_differently_are_not_mixed() -> None:
    pair = Pair().met()
    one = Desired(id="a", session=FIRST, epoch=1, revision=5, base=0, part=2, parts=3)
    pair.hear(one)
    pair.hear(replace(one, part=0, parts=2))
    assert pair.member.revision == 0
    pair.hear(replace(one, part=1, parts=2))
    assert pair.member.revision == 5


def test_abandoned_parts_are_not_kept_for_ever() -> None:
    pair = Pair().met()
    for revision in range(1, 100):
        pair.hear(Desired(id="a", session=FIRST, epoch=1, revision=revision, base=0, part=0, parts=2))
    assert len(pair.member._parts) <= 4


def test_a_full_set_is_not_sent_twice_while_it_is_under_way() -> None:
    pair = Pair()
    (report,) = pair.report(10.0)
    pair.believe(report, 10.0)
    assert len(pair.say(10.0)) == 1
    pair.want(keys(1)[0])
    assert pair.say(10.5) == []
    pair.want(keys(2)[0])
    (again,) = pair.say(10.0 + RESEND_AFTER_S)
    assert again.base is None
    assert [w.numbers for w in again.put] == [(1, 2)]


def test_what_was_acknowledged_is_not_remembered() -> None:
    pair = Pair().met()
    for number in range(50):
        pair.want(InstanceKey("ms", number))
    for desired in pair.say(20.0):
        pair.hear(desired)
    for report in pair.report(20.1):
        pair.believe(report, 20.1)
    assert pair.owner.peer("m").changed == {}


def test_nothing_is_reported_before_its_time_without_news() -> None:
    pair = Pair().met()
    assert pair.report(13.0) == []
    (heartbeat,) = pair.report(15.1)
    assert heartbeat.observations == ()


def test_session_ids_sort_by_the_start_counter() -> None:
    assert session_id(9, "z") < session_id(10, "a") < session_id(123_456_789, "a")


STEPS = st.sampled_from(["want", "want", "unwant", "say", "report", "say", "report", "member", "owner", "generation"])


def _exchange(pair: Pair, step: str, choose: Callable[[int], int], channel: list[Desired | Report], now: float) -> None:
    at = keys(choose(6))[0]
    match step:
        case "want":
            pair.want(at)
        case "generation":
            pair.want(at, replace(SPEC, generation=choose(1000) + 2))
        case "unwant":
            pair.want(at, None)
        case "say":
            channel += pair.say(now)
        case "report":
            channel += pair.report(now)
        case "member":
            pair.member_restarts()
        case "owner":
            pair.owner_restarts()


def _deliver(pair: Pair, message: Desired | Report, now: float) -> None:
    if isinstance(message, Desired):
        pair.hear(message)
    else:
        pair.believe(message, now)


@settings(max_examples=150, deadline=None)
@given(steps=st.lists(STEPS, max_size=50), seed=st.integers(0, 2**32))
def test_both_sides_agree_once_the_channel_is_quiet(steps: list[str], seed: int) -> None:
    """Over a channel that loses, repeats and reorders, with restarts of both sides in between."""
    rng, pair, now = random.Random(seed), Pair(), 10.0
    channel: list[Desired | Report] = []
    for step in steps:
        now += rng.random()
        _exchange(pair, step, rng.randrange, channel, now)
        rng.shuffle(channel)
        while channel and rng.random() < 0.6:
            message = channel.pop()
            if rng.random() < 0.7:
                _deliver(pair, message, now)
            if rng.random() < 0.2:
                channel.insert(0, message)
    for message in channel:
        _deliver(pair, message, now)
    for _ in range(12):
        now += RESEND_AFTER_S + 1.1
        for report in pair.report(now):
            pair.believe(report, now)
        for desired in pair.say(now):
            pair.hear(desired)
    assert pair.has == pair.wanted
    assert pair.owner.peer("m").acked == pair.owner.peer("m").revision
    assert pair.say(now) == []


def test_a_will_is_doubted_once_and_a_living_member_is_back_within_a_round_trip() -> None:
    owner = Owner(1)
    owner.on_presence("n", Presence(id="p", session="1", online=True), 0.0)
    owner.flush(0.0, lambda member: (), lambda member, at: None, lambda: "id")
    assert owner.on_presence("n", Presence(id="w", session="1", online=False), 1.0)
    [(member, asked)] = owner.flush(1.0, lambda member: (), lambda member, at: None, lambda: "id")
    assert member == "n" and asked.need_report
    owner.dirty.add("n")
    assert owner.flush(9.0, lambda member: (), lambda member, at: None, lambda: "id") == []
    assert owner.on_report("n", Report(id="r", session="1", sequence=1, full=True), 9.1).came_online
