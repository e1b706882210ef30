"""The node's decisions, one message at a time: adoption, updates while things are under way, endings, engines away."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from spinney_node import messages as m
from spinney_node.decide import LIST_EVERY_S, decide, settle, start_actions
from spinney_node.drivers import Exited, Handle
from spinney_node.reconcile import FIRST_RESTART_S, backoff_s
from spinney_node.state import State, begin
from spinney_node.telling import observe
from spinney_shared import topics
from spinney_shared.deciding import Connected, Decision, Now, Tick
from spinney_shared.messages import Desired, Observation, Unwanted, Wanted
from spinney_shared.model import InstanceKey, MicroserviceSpec, NodeInfo, RestartPolicy, RuntimeInfo, driver_id
from spinney_shared.receiving import Received
from spinney_shared.store import Put, Record, merged
from spinney_shared.sync import DETAIL_LIMIT

SPEC = MicroserviceSpec("ms", 1, "app.ns.svc.ns", "image")
RUNC = RuntimeInfo("runc", "engine", "verified", default=True)
AT = InstanceKey("ms", 0)


class Bench:
    """A node without hands: actions are collected, outcomes are put in by the test."""

    def __init__(self, records: list[Record] | None = None, machine: str = "machine") -> None:
        self.state: State = begin(NodeInfo("n"), "c", ["engine"], records or [], random.Random(machine), machine)
        self.disk: dict[tuple[str, str], Record] = {(r.kind, r.key): r for r in records or []}
        self._save(self.state.take_changes())
        self.now = 100.0
        self.revision = self.state.member.revision
        self.actions: list[Any] = start_actions(self.state.drivers, Now(self.now, 0))

    def _save(self, changes: list[Any]) -> None:
        for change in merged(changes):
            if isinstance(change, Put):
                self.disk[change.record.kind, change.record.key] = change.record
            else:
                self.disk.pop((change.kind, change.key), None)

    def put(self, message: Any) -> Decision:
        decision = decide(self.state, message, Now(self.now, 0))
        decision.add(settle(self.state, Now(self.now, 0)))
        self._save(decision.changes)
        self.actions += decision.actions
        return decision

    def tick(self, seconds: float = 1.0) -> Decision:
        self.now += seconds
        return self.put(Tick())

    def take(self, kind: type) -> list[Any]:
        found = [a for a in self.actions if isinstance(a, kind)]
        self.actions = [a for a in self.actions if not isinstance(a, kind)]
        return found

    def desire(self, *put: Wanted, remove: tuple[Unwanted, ...] = (), full: bool = False) -> None:
        base = None if full else self.revision
        self.revision += 1
        session = self.state.member.session
        desired = Desired(id="d", session=session, epoch=1, revision=self.revision, base=base, put=put, remove=remove)
        if not full and self.state.member.epoch != 1:
            desired = replace(desired, base=None)
        self.put(Received(topics.NODE_DESIRED, {"cluster": "c", "node": "n"}, desired))

    def ready(self, *handles: Handle) -> Bench:
        self.put(m.Fingerprinted("engine", (RUNC,)))
        self.put(m.Listed("engine", self.now, handles))
        self.actions.clear()
        return self

    def running(self, spec: MicroserviceSpec = SPEC) -> Bench:
        self.ready()
        self.desire(Wanted(spec, (0,)))
        (start,) = self.take(m.Start)
        self.put(m.Started("engine", handle(start.workload.spec)))
        assert self.seen().status == "RUNNING"
        return self

    def seen(self) -> Observation:
        found = observe(self.state, AT)
        assert found is not None
        return found

    def power_cut(self) -> Bench:
        return Bench(list(self.disk.values()))


def handle(spec: MicroserviceSpec = SPEC, state: str = "running", code: int | None = None) -> Handle:
    id = driver_id(AT, spec.generation)
    return Handle(id, "ms", 0, spec.generation, "runc", state, exit_code=code)  # type: ignore[arg-type]


def test_nothing_is_started_before_the_engine_has_told_what_runs() -> None:
    bench = Bench()
    bench.put(m.Fingerprinted("engine", (RUNC,)))
    bench.desire(Wanted(SPEC, (0,)), full=True)
    assert bench.take(m.Start) == []
    bench.put(m.Listed("engine", bench.now, (handle(),)))
    assert bench.take(m.Start) == []
    assert bench.seen().status == "RUNNING"


def test_what_runs_is_adopted_after_a_restart_of_the_process() -> None:
    bench = Bench().running().power_cut().ready(handle())
    assert bench.seen().status == "RUNNING"
    assert bench.actions == []


def test_an_instance_that_ran_is_started_again_after_a_power_cut() -> None:
    bench = Bench().running().power_cut().ready(handle(state="stopped"))
    bench.tick(FIRST_RESTART_S)
    assert len(bench.take(m.Start)) == 1


def test_a_listing_that_failed_is_asked_for_again_even_when_verification_succeeds() -> None:
    bench = Bench()
    bench.put(m.Listed("engine", bench.now, problem="socket not there"))
    bench.put(m.Fingerprinted("engine", (RUNC,)))
    bench.actions.clear()
    bench.tick(60)
    assert bench.take(m.List), "else nothing is ever started here"


def test_a_verification_that_failed_is_tried_again_even_when_the_listing_succeeds() -> None:
    bench = Bench()
    bench.put(m.Fingerprinted("engine", problem="socket not there"))
    bench.put(m.Listed("engine", bench.now))
    bench.actions.clear()
    bench.tick(60)
    assert bench.take(m.Fingerprint)


def test_an_update_while_running_ends_the_old_copy_before_it_starts_the_new_one() -> None:
    bench = Bench().running()
    bench.desire(Wanted(replace(SPEC, generation=2), (0,)))
    (remove,) = bench.take(m.Remove)
    assert (remove.id, remove.grace_s) == (driver_id(AT, 1), SPEC.stop_grace_s)
    assert bench.take(m.Start) == []
    bench.put(m.Removed(remove.id))
    (start,) = bench.take(m.Start)
    assert start.workload.spec.generation == 2


def test_an_update_while_starting_and_again_while_stopping_ends_in_the_last_generation() -> None:
    bench = Bench().ready()
    bench.desire(Wanted(SPEC, (0,)))
    bench.take(m.Start)
    bench.desire(Wanted(replace(SPEC, generation=2), (0,)))
    (remove,) = bench.take(m.Remove)
    bench.desire(Wanted(replace(SPEC, generation=3), (0,)))
    bench.put(m.Started("engine", handle()))  # it came to run before it heard of its end
    assert bench.actions == []
    bench.put(m.Removed(remove.id))
    (start,) = bench.take(m.Start)
    assert start.workload.spec.generation == 3


def test_a_removed_and_wanted_again_instance_runs_once() -> None:
    bench = Bench().running()
    bench.desire(remove=(Unwanted("ms", (0,)),))
    (remove,) = bench.take(m.Remove)
    bench.desire(Wanted(SPEC, (0,)))
    assert bench.actions == []
    bench.put(m.Removed(remove.id))
    assert len(bench.take(m.Start)) == 1


@pytest.mark.parametrize("why", ["unsupported", "other"])
def test_an_update_mends_what_was_given_up(why: Any) -> None:
    spec = replace(SPEC, restart=RestartPolicy(max_attempts=1))
    bench = Bench().ready()
    bench.desire(Wanted(spec, (0,)))
    for _ in range(2):
        for start in bench.take(m.Start):
            bench.put(m.StartFailed(start.workload.id, why, "no such image"))
        bench.tick(100)
    assert bench.seen().status == "DEAD"
    bench.desire(Wanted(replace(spec, generation=2), (0,)))
    (start,) = bench.take(m.Start)
    assert start.workload.spec.generation == 2


def test_an_update_does_not_wait_for_the_back_off_of_what_it_mends() -> None:
    bench = Bench().ready()
    bench.desire(Wanted(SPEC, (0,)))
    for _ in range(6):
        for start in bench.take(m.Start):
            bench.put(m.StartFailed(start.workload.id, "image", "no such image"))
        bench.tick(40)
    bench.take(m.Start)
    bench.put(m.StartFailed(driver_id(AT, 1), "image", "no such image"))
    bench.desire(Wanted(replace(SPEC, generation=2), (0,)))
    assert len(bench.take(m.Start)) == 1


@pytest.mark.parametrize("most", [1, 3])
def test_attempts_are_counted_after_the_first_start(most: int) -> None:
    bench = Bench().ready()
    bench.desire(Wanted(replace(SPEC, restart=RestartPolicy(max_attempts=most)), (0,)))
    starts = 0
    for _ in range(10):
        for start in bench.take(m.Start):
            starts += 1
            bench.put(m.StartFailed(start.workload.id, "other", "no"))
        bench.tick(100)
    assert starts == 1 + most
    assert bench.seen().status == "DEAD"
    assert "gave up" in bench.seen().detail


def test_an_engine_that_is_away_is_no_failure_of_the_instance() -> None:
    bench = Bench().ready()
    bench.desire(Wanted(replace(SPEC, restart=RestartPolicy(max_attempts=1)), (0,)))
    for _ in range(5):
        (start,) = bench.take(m.Start)
        bench.put(m.StartFailed(start.workload.id, "engine", "containerd is away"))
        assert bench.seen().detail == "containerd is away"
        bench.tick(5)
    bench.put(m.Started("engine", handle()))
    assert bench.seen().status == "RUNNING"


@pytest.mark.parametrize(("code", "policy", "status"), [(0, "always", "COMPLETED"), (1, "never", "DEAD")])
def test_what_ended_for_good_is_not_run_again_by_a_power_cut(code: int, policy: Any, status: str) -> None:
    spec = replace(SPEC, one_shot=True, restart=RestartPolicy(policy=policy))
    bench = Bench().running(spec)
    bench.put(m.WorkloadExited("engine", Exited(driver_id(AT, 1), code)))
    assert (bench.seen().status, bench.seen().exit_code) == (status, code)
    bench = bench.power_cut().ready(handle(spec, "stopped"))
    bench.tick(100)
    assert bench.take(m.Start) == []
    assert (bench.seen().status, bench.seen().exit_code) == (status, code)
    bench.desire(remove=(Unwanted("ms", (0,)),))
    assert len(bench.take(m.Remove)) == 1, "what is left of it goes with it"
    bench.put(m.Removed(driver_id(AT, 1)))
    assert bench.state.copies == {}


def test_a_full_set_without_an_ended_instance_removes_it_also_when_nothing_is_left_of_it() -> None:
    bench = Bench().running(replace(SPEC, one_shot=True))
    bench.put(m.WorkloadExited("engine", Exited(driver_id(AT, 1), 0)))
    bench = bench.power_cut().ready()
    assert bench.seen().status == "COMPLETED"
    bench.desire(full=True)
    assert bench.state.copies == {}
    assert bench.state.wanted == {}


def test_what_cannot_be_stopped_is_said_and_tried_again() -> None:
    bench = Bench().running()
    bench.desire(remove=(Unwanted("ms", (0,)),))
    for _ in range(3):
        (remove,) = bench.take(m.Remove)
        bench.put(m.Removed(remove.id, "it hangs in the kernel"))
        assert "it hangs in the kernel" in bench.seen().detail
        bench.tick(10)
    (remove,) = bench.take(m.Remove)
    bench.put(m.Removed(remove.id))
    assert bench.state.copies == {}


def test_what_could_not_be_stopped_and_is_wanted_again_runs_again() -> None:
    bench = Bench().running()
    bench.desire(remove=(Unwanted("ms", (0,)),))
    (remove,) = bench.take(m.Remove)
    bench.desire(Wanted(SPEC, (0,)))
    bench.put(m.Removed(remove.id, "containerd is away"))
    bench.tick(10)
    assert len(bench.take(m.Start)) == 1
    bench.put(m.Started("engine", handle()))
    assert bench.seen().status == "RUNNING"


def test_two_leftovers_of_one_instance_both_go() -> None:
    other = replace(handle(), id=driver_id(AT, 2), generation=2)
    bench = Bench()
    bench.put(m.Fingerprinted("engine", (RUNC,)))
    bench.put(m.Listed("engine", bench.now, (handle(), other)))
    assert {a.id for a in bench.take(m.Remove)} == {driver_id(AT, 1), driver_id(AT, 2)}


def test_an_update_that_came_before_the_listing_waits_for_the_end_of_the_old_copy() -> None:
    bench = Bench(list(Bench().running().disk.values()))
    bench.put(m.Fingerprinted("engine", (RUNC,)))
    bench.desire(Wanted(replace(SPEC, generation=2, stop_grace_s=7.0), (0,)))
    bench.put(m.Listed("engine", bench.now, (handle(),)))
    (remove,) = bench.take(m.Remove)
    assert (remove.id, remove.grace_s) == (driver_id(AT, 1), 7.0)
    assert bench.take(m.Start) == []
    bench.put(m.Removed(remove.id))
    assert len(bench.take(m.Start)) == 1


def test_outcomes_for_what_nobody_knows_change_nothing() -> None:
    bench = Bench().running()
    for message in (
        m.StartFailed("x", "other", ""), m.Removed("x"), m.Removed("x", "problem"), m.Progressed("x", "y"),
        m.WorkloadExited("engine", Exited("x", 1)), m.Removed(driver_id(AT, 1)), m.Started("engine", handle()),
        m.StartFailed(driver_id(AT, 1), "other", "late"),
    ):  # fmt: skip
        bench.put(message)
    assert bench.seen().status == "RUNNING"
    assert bench.actions == []
    bench.put(m.Started("engine", replace(handle(), id="stranger")))
    assert [a.id for a in bench.take(m.Remove)] == ["stranger"]


@pytest.mark.parametrize("words", ["x" * 10_000, "\x00\x1b[31m\n", "\ud800 half a character", "é" * 1000])
def test_words_of_an_engine_can_be_sent_and_stored(words: str) -> None:
    bench = Bench().running()
    bench.put(m.WorkloadExited("engine", Exited(driver_id(AT, 1), 1, words)))
    detail = bench.seen().detail
    assert len(detail) <= DETAIL_LIMIT
    assert detail.isprintable()
    detail.encode()


def test_a_disk_from_another_machine_keeps_nothing() -> None:
    bench = Bench().running()
    copied = Bench(list(bench.disk.values()), machine="another")
    assert copied.state.wanted == {}
    assert copied.state.meta.node != bench.state.meta.node


def test_the_names_of_what_is_gone_are_not_kept_once_told() -> None:
    bench = Bench().running()
    bench.put(Connected())
    for _ in range(3):
        bench.desire(remove=(Unwanted("ms", tuple(range(50))),))
        for remove in bench.take(m.Remove):
            bench.put(m.Removed(remove.id))
        bench.tick(5)
        assert bench.state.gone == {}
        assert not bench.state.member.news


@given(
    attempts=st.integers(1, 10_000), chance=st.floats(0, 1), backoff=st.floats(0.01, 1e4), longest=st.floats(0.01, 1e5)
)
def test_the_back_off_doubles_within_bounds(attempts: int, chance: float, backoff: float, longest: float) -> None:
    policy = RestartPolicy(backoff_s=backoff, longest_backoff_s=longest)
    delay = backoff_s(policy, attempts, chance)
    if attempts == 1:
        assert delay == FIRST_RESTART_S
        return
    plain = min(backoff * 2.0 ** (attempts - 2 if attempts < 32 else 30), longest)
    assert 0.8 * plain <= delay <= 1.2 * plain * (1 + 1e-9)


def test_a_healthy_run_forgives_earlier_failures() -> None:
    bench = Bench().running()
    for seconds, attempts in ((1, 1), (1, 2), (1, 3), (60, 1)):
        bench.now += seconds
        bench.put(m.WorkloadExited("engine", Exited(driver_id(AT, 1), 1)))
        assert bench.state.copies[AT].attempts == attempts
        bench.tick(100)
        bench.take(m.Start)
        bench.put(m.Started("engine", handle()))
    assert bench.seen().restarts == 4


def test_never_on_another_runtime_than_the_one_asked_for() -> None:
    bench = Bench().ready()
    bench.desire(Wanted(replace(SPEC, runtime="runsc"), (0,)))
    bench.tick(100)
    assert bench.take(m.Start) == []
    assert "runsc" in bench.seen().detail
    bench.put(m.Fingerprinted("engine", (RUNC, RuntimeInfo("runsc", "engine", "failed", reason="no network"))))
    bench.tick(100)
    assert bench.take(m.Start) == []
    assert "no network" in bench.seen().detail
    bench.put(m.Fingerprinted("engine", (RUNC, RuntimeInfo("runsc", "engine", "verified"))))
    (start,) = bench.take(m.Start)
    assert start.workload.runtime == "runsc"


def test_what_slipped_past_the_events_is_found_by_listing_again() -> None:
    bench = Bench().running(SPEC)
    bench.tick(LIST_EVERY_S + 1)
    (asked,) = bench.take(m.List)
    bench.put(m.Listed("engine", asked.asked_at, ()))
    assert bench.seen().status == "FAILED"
    bench.tick(1)
    assert len(bench.take(m.Start)) == 1
