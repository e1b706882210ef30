"""What a node does about a message: pure decisions, no I/O.

Everything about one instance goes through `spinney_node.reconcile`, which compares what should run with what is known
of the copy here and takes the one next step. It is called after anything changed for that instance, so a lost or
repeated message makes no difference. Nothing is started before its engine has told what already runs (adoption), nor
on a runtime that is not verified.
"""

from __future__ import annotations

from spinney_shared import lifecycle
from spinney_shared.deciding import Connected, Decision, Disconnected, Now, Tick
from spinney_shared.messages import Desired, Query
from spinney_shared.model import InstanceKey
from spinney_shared.receiving import Received

from . import messages as m
from .drivers import Handle
from .reconcile import ENGINE_RETRY_S, by_id, copy_of, end, exited, forget, reconcile, remove, runs, show, try_later
from .state import Copy, DriverState, Meta, State, Wanted
from .telling import announcement, answer, reports

LIST_EVERY_S = 30.0
"""How long what we believe of an engine may go unchecked: whatever slipped past its events is found by then."""


def decide(state: State, message: m.Message, now: Now) -> Decision:
    """One message's decision; the state's records are changed through its `put` and `drop`."""
    decision = Decision()
    match message:
        case Received():
            _received(state, message, now, decision)
        case m.Started():
            _started(state, message, now, decision)
        case m.StartFailed():
            _start_failed(state, message, now, decision)
        case m.WorkloadExited():
            exited(state, message.exited.id, message.exited.exit_code, message.exited.detail, now, decision)
        case m.Removed():
            _removed(state, message, now, decision)
        case m.Progressed():
            _progressed(state, message)
        case m.Listed():
            _listed(state, message, now, decision)
        case m.Fingerprinted():
            _fingerprinted(state, message, now, decision)
        case m.EngineChanged():
            decision.actions += [m.List(message.driver, now.mono), m.Fingerprint(message.driver)]
            state.drivers[message.driver].asking = True
        case m.LogsRead():
            decision.sends.append(answer(state, message.query, message.text, message.error))
        case m.Sampled():
            state.usage = message.usage
        case Tick():
            _tick(state, now, decision)
        case Connected():
            state.connected, state.present, state.announced = True, False, None
            state.member.reconnected()
        case Disconnected():
            state.connected = False
    decision.changes += state.take_changes()
    return decision


def settle(state: State, now: Now) -> Decision:
    """What the whole batch asks for: who we are, if that is news, and the report that is due."""
    decision = Decision()
    if state.connected:
        decision.sends += announcement(state, now) + reports(state, now)
    return decision


def _received(state: State, received: Received, now: Now, decision: Decision) -> None:
    match received.message:
        case Desired():
            _desired(state, received.message, now, decision)
        case Query():
            _query(state, received.message, decision)


def _desired(state: State, desired: Desired, now: Now, decision: Decision) -> None:
    applied = state.member.on_desired(desired)
    if desired.need_report and desired.session == state.member.session:
        state.announced = None  # whoever misses reports may have missed this too
    if applied is None:
        return
    state.cause = desired.id
    touched: dict[InstanceKey, None] = {}  # a set that keeps its order
    for item in applied.put:
        for number in item.numbers:
            at = InstanceKey(item.spec.id, number)
            touched[at] = None
            before = state.wanted.get(at)
            if before is None or before.spec != item.spec:
                state.put(Wanted(number=number, spec=item.spec))
                state.gone.pop(at, None)
                state.member.note(at)
    unwanted = [InstanceKey(item.microservice, number) for item in applied.remove for number in item.numbers]
    if applied.full:
        unwanted += [at for at in (*state.wanted, *state.copies) if at not in touched]
    for at in unwanted:
        if (record := state.wanted.get(at)) is not None:
            state.drop(record)
        if at not in state.copies:
            state.gone[at] = record.spec.generation if record else 0
            state.member.note(at)
        touched[at] = None
    meta = state.meta
    state.put(Meta(meta.node, meta.machine, meta.starts, state.member.epoch, state.member.revision))
    for at in touched:
        reconcile(state, at, now, decision)


def _started(state: State, message: m.Started, now: Now, decision: Decision) -> None:
    copy = by_id(state, message.handle.id)
    if copy is None:
        decision.actions.append(m.Remove(message.driver, message.handle.id, 0.0))
    elif copy.phase == "starting":
        runs(state, copy, message.driver, message.handle, now)
        reconcile(state, copy.at, now, decision)


def _start_failed(state: State, message: m.StartFailed, now: Now, decision: Decision) -> None:
    copy = by_id(state, message.id)
    if copy is None or copy.phase != "starting":
        return
    copy.changed_at, copy.driver = now.mono, ""
    if message.why == "unsupported":
        end(state, copy, lifecycle.DEAD, message.detail)
        return
    if message.why == "engine":  # says nothing about the instance: no failure of its own is counted
        copy.phase, copy.start_at = "waiting", now.mono + ENGINE_RETRY_S
        show(state, copy, lifecycle.FAILED, message.detail)
        return
    try_later(state, copy, message.detail, now)
    reconcile(state, copy.at, now, decision)


def _removed(state: State, message: m.Removed, now: Now, decision: Decision) -> None:
    copy = by_id(state, message.id)
    if copy is None or copy.phase != "stopping":
        return
    if message.problem:  # whoever still wants it starts it again; whoever does not stops it again
        copy.phase, copy.changed_at, copy.start_at = "waiting", now.mono, now.mono + ENGINE_RETRY_S
        show(state, copy, lifecycle.FAILED, f"cannot be stopped: {message.problem}")
        return
    forget(state, copy)
    reconcile(state, copy.at, now, decision)


def _progressed(state: State, message: m.Progressed) -> None:
    copy = by_id(state, message.id)
    if copy is not None and copy.phase == "starting":
        show(state, copy, lifecycle.CREATING, message.detail)


def _listed(state: State, message: m.Listed, now: Now, decision: Decision) -> None:
    driver = state.drivers[message.driver]
    driver.asking, driver.list_problem = False, message.problem
    if message.problem:
        driver.retry_at = now.mono + ENGINE_RETRY_S
        return
    driver.listed, driver.listed_at = True, message.asked_at
    there = {handle.id: handle for handle in message.handles}
    for handle in message.handles:
        _adopt(state, message, handle, now, decision)
    for copy in list(state.copies.values()):
        lost = copy.phase == "running" and copy.driver == message.driver and copy.id not in there
        if lost and copy.changed_at < message.asked_at:
            exited(state, copy.id, 255, "vanished from its engine", now, decision)
    for at in list(state.wanted):
        reconcile(state, at, now, decision)


def _adopt(state: State, message: m.Listed, handle: Handle, now: Now, decision: Decision) -> None:
    """Make what the engine has ours again, or end it when nobody wants it."""
    copy, wanted = state.copies.get(handle.key), state.wanted.get(handle.key)
    if copy is not None and (copy.phase in ("starting", "stopping") or copy.changed_at >= message.asked_at):
        if copy.phase == "stopping" and copy.id != handle.id and wanted is None:
            decision.actions.append(m.Remove(message.driver, handle.id, 10.0))  # one more that nobody wants
        return
    unstarted = copy is None or (not copy.driver and copy.id != handle.id)
    if wanted is None or (wanted.spec.generation != handle.generation and unstarted):
        if copy is None or unstarted:  # the wanted generation starts when this one is gone
            copy = state.copies[handle.key] = Copy(at=handle.key, generation=handle.generation, id=handle.id)
            copy.driver = message.driver
        return remove(state, copy, wanted.spec.stop_grace_s if wanted else 10.0, decision)
    if copy is None:
        copy = state.copies[handle.key] = copy_of(wanted)
        copy.id = handle.id
    if copy.phase == "ended" and not copy.driver:
        copy.driver, copy.runtime = message.driver, handle.runtime  # what is left of it goes when it is removed
    if copy.id != handle.id or (copy.driver and copy.driver != message.driver):
        decision.actions.append(m.Remove(message.driver, handle.id, 0.0))
    elif handle.state == "running" and copy.phase in ("waiting", "running"):
        if copy.phase == "waiting":
            runs(state, copy, message.driver, handle, now)
    elif handle.state == "stopped" and (copy.phase == "running" or not copy.driver) and copy.phase != "ended":
        runs(state, copy, message.driver, handle, now)
        code = 255 if handle.exit_code is None else handle.exit_code
        exited(state, handle.id, code, handle.detail, now, decision)


def _fingerprinted(state: State, message: m.Fingerprinted, now: Now, decision: Decision) -> None:
    driver = state.drivers[message.driver]
    driver.fingerprinted, driver.asking, driver.verify_problem = True, False, message.problem
    driver.runtimes = message.runtimes
    if message.problem:
        driver.retry_at = now.mono + ENGINE_RETRY_S
    _try_waiting_again(state, now, decision)


def _try_waiting_again(state: State, now: Now, decision: Decision) -> None:
    """Runtimes have changed: whoever waits for one need not wait longer."""
    for copy in state.copies.values():
        if copy.phase == "waiting" and not copy.driver and copy.attempts == 0:
            copy.start_at = now.mono
    for at in list(state.wanted):
        reconcile(state, at, now, decision)


def _tick(state: State, now: Now, decision: Decision) -> None:
    for name, driver in state.drivers.items():
        if driver.problem and not driver.asking and now.mono >= driver.retry_at:
            driver.asking = True
            decision.actions += [m.List(name, now.mono), m.Fingerprint(name)]
        elif driver.listed and not driver.asking and now.mono - driver.listed_at >= LIST_EVERY_S:
            driver.asking = True
            decision.actions.append(m.List(name, now.mono))
    for copy in list(state.copies.values()):
        due = copy.start_at <= now.mono
        if due and copy.phase not in ("starting", "stopping"):
            reconcile(state, copy.at, now, decision)


def start_actions(drivers: dict[str, DriverState], now: Now) -> list[m.Action]:
    """What a node does first: ask every engine what runs there, and verify its runtimes."""
    actions: list[m.Action] = []
    for name, driver in drivers.items():
        driver.asking = True
        actions += [m.List(name, now.mono), m.Fingerprint(name)]
    return actions


def _query(state: State, query: Query, decision: Decision) -> None:
    copy = state.copies.get(InstanceKey(query.microservice, query.number))
    if copy is None or not copy.driver:
        decision.sends.append(answer(state, query, "", "the instance has no container on this node"))
    else:
        decision.actions.append(m.ReadLogs(copy.driver, copy.id, query))
