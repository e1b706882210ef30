"""What a node does about a message: pure decisions, no I/O.

Everything about one instance goes through `reconcile`, which compares what should run with what is known of the copy
here and takes the one next step. It is called after anything changed for that instance, so a lost or repeated message
makes no difference. Nothing is started before its engine has told what already runs (adoption), nor on a runtime that
is not verified.
"""

from __future__ import annotations

from msgspec.structs import replace
from spinney_shared import lifecycle, topics
from spinney_shared.bounding import fitted, plain
from spinney_shared.deciding import Connected, Decision, Disconnected, Now, Send, Tick
from spinney_shared.messages import Answer, Desired, NodeAnnounce, Observation, Presence, Query
from spinney_shared.model import DEFAULT_RUNTIME, InstanceKey, MicroserviceSpec, RestartPolicy, RuntimeInfo, driver_id
from spinney_shared.receiving import Received
from spinney_shared.sync import DETAIL_LIMIT

from . import messages as m
from .drivers import Handle, Workload
from .state import Copy, DriverState, Meta, State, Wanted

HEALTHY_AFTER_S = 10.0
"""An instance that ran this long and ended is not in a crash loop: its count of failures starts again."""

FIRST_RESTART_S = 0.1
"""A first failure is mended nearly at once; the policy's back-off starts with the second."""

ENGINE_RETRY_S = 2.0

LIST_EVERY_S = 30.0
"""How long what we believe of an engine may go unchecked: whatever slipped past its events is found by then."""

ANNOUNCE_BYTES = 128 * 1024
"""Of what the node says of itself: many drivers may have many runtimes that failed with long reasons."""


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
            _exited(state, message.exited.id, message.exited.exit_code, message.exited.detail, now, decision)
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
            decision.sends.append(_answer(state, message.query, message.text, message.error))
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
    if not state.connected:
        return decision
    decision.sends += _announcement(state, now)
    if not all(driver.listed or driver.problem for driver in state.drivers.values()):
        return decision  # what runs here is not known yet: a report now would say less than the last one did
    reports = state.member.flush(
        now.mono, state.report_every_s, lambda at: observe(state, at), lambda: _known(state), state.ids, state.cause
    )
    for report in reports:
        topic = topics.NODE_REPORT.format(cluster=state.cluster, node=state.meta.node)
        decision.sends.append(Send(topic, replace(report, usage=state.usage)))
    if reports:
        state.gone.clear()
        state.cause = ""
    return decision


def observe(state: State, at: InstanceKey) -> Observation | None:
    """What is seen of one instance, as the cluster is told."""
    copy = state.copies.get(at)
    if copy is None:
        if at in state.gone:
            generation = state.gone[at]
            return Observation(
                microservice=at.microservice, number=at.number, generation=generation, status=lifecycle.UNDEPLOYED
            )
        wanted = state.wanted.get(at)
        if wanted is None:
            return None
        copy = _copy_of(wanted)
    return Observation(
        microservice=at.microservice,
        number=at.number,
        generation=copy.generation,
        status=copy.status,
        detail=copy.detail,
        runtime=copy.runtime,
        node=state.meta.node,
        node_name=state.info.name,
        host_ip=state.info.host_ip,
        address=copy.address,
        restarts=copy.restarts,
        started_at=copy.started_at,
        exit_code=copy.exit_code,
    )


def _known(state: State) -> list[InstanceKey]:
    return list(dict.fromkeys([*state.wanted, *state.copies, *state.gone]))


def _announcement(state: State, now: Now) -> list[Send]:
    """Presence at once; the announcement whenever it is news, but only once every driver was fingerprinted."""
    names = {"cluster": state.cluster, "node": state.meta.node}
    sends = []
    if not state.present:
        presence = Presence(id=state.ids(), session=state.member.session, online=True, at=now.wall)
        sends.append(Send(topics.NODE_PRESENCE.format(**names), presence, retain=True))
        state.present = True
    problems = tuple(f"{name}: {d.problem}" for name, d in sorted(state.drivers.items()) if d.problem)
    info = replace(state.info, runtimes=state.runtimes(), problems=problems)
    if info != state.announced and all(driver.fingerprinted for driver in state.drivers.values()):
        announce = NodeAnnounce(id=state.ids(), session=state.member.session, node=fitted(info, ANNOUNCE_BYTES))
        sends.append(Send(topics.NODE_ANNOUNCE.format(**names), announce, retain=True))
        state.announced = info
    return sends


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


def reconcile(state: State, at: InstanceKey, now: Now, decision: Decision) -> None:
    """Take the next step for one instance, if there is one to take now."""
    wanted, copy = state.wanted.get(at), state.copies.get(at)
    if wanted is None:
        if copy is not None and copy.phase != "stopping":
            _remove(state, copy, 10.0, decision)
        return
    if copy is None:
        copy = state.copies[at] = _copy_of(wanted)
    if copy.phase == "stopping":
        return
    if copy.generation != wanted.spec.generation:
        if copy.driver:
            _remove(state, copy, wanted.spec.stop_grace_s, decision)
            return
        copy = state.copies[at] = _copy_of(wanted)  # nothing of the old generation is in any engine
        state.member.note(at)
    if copy.phase == "waiting" and now.mono >= copy.start_at:
        _start(state, copy, wanted, now, decision)


def _copy_of(wanted: Wanted) -> Copy:
    """What is known of an instance that no engine has: it waits to be started, or has ended for good."""
    generation = wanted.spec.generation
    copy = Copy(at=wanted.at, generation=generation, id=driver_id(wanted.at, generation))
    if wanted.ended:
        copy.phase, copy.status, copy.detail, copy.exit_code = "ended", wanted.ended, wanted.why, wanted.exit_code
    return copy


def _end(state: State, copy: Copy, status: str, detail: str) -> None:
    """It will not be started again; that is remembered beyond the process and the machine's power."""
    copy.phase = "ended"
    _set(state, copy, status, detail)
    wanted = state.wanted.get(copy.at)
    if wanted is not None and wanted.spec.generation == copy.generation:
        state.put(replace(wanted, ended=copy.status, why=copy.detail, exit_code=copy.exit_code))


def _start(state: State, copy: Copy, wanted: Wanted, now: Now, decision: Decision) -> None:
    runtime = runtime_for(wanted.spec, state.runtimes())
    if runtime is None:
        problems = [f"; {name}: {driver.problem}" for name, driver in state.drivers.items() if driver.problem]
        _set(state, copy, lifecycle.FAILED, why_not(wanted.spec, state.runtimes()) + "".join(problems))
        copy.start_at = now.mono + ENGINE_RETRY_S
        return
    if not state.drivers[runtime.driver].listed:
        return  # it may run already; the listing reconciles everything again
    copy.phase, copy.driver, copy.runtime = "starting", runtime.driver, runtime.name
    copy.changed_at = now.mono
    _set(state, copy, lifecycle.CREATING, f"starting on {runtime.name}")
    workload = Workload(id=copy.id, number=copy.at.number, runtime=runtime.name, spec=wanted.spec)
    decision.actions.append(m.Start(runtime.driver, workload))


def _remove(state: State, copy: Copy, grace_s: float, decision: Decision) -> None:
    copy.phase = "stopping"
    if not copy.driver:  # never got as far as an engine
        _forget(state, copy)
        return
    decision.actions.append(m.Remove(copy.driver, copy.id, grace_s))


def _forget(state: State, copy: Copy) -> None:
    """Nothing of the copy is left."""
    del state.copies[copy.at]
    if copy.at not in state.wanted:
        state.gone[copy.at] = copy.generation
    state.member.note(copy.at)


def runtime_for(spec: MicroserviceSpec, runtimes: tuple[RuntimeInfo, ...]) -> RuntimeInfo | None:
    """The verified runtime that the specification asks for, never another one in its place."""
    for runtime in runtimes:
        asked = runtime.default if spec.runtime == DEFAULT_RUNTIME else runtime.name == spec.runtime
        if asked and runtime.state == "verified":
            return runtime
    return None


def why_not(spec: MicroserviceSpec, runtimes: tuple[RuntimeInfo, ...]) -> str:
    """Why none of this node's runtimes will do, in words."""
    for runtime in runtimes:
        if runtime.name == spec.runtime:
            return f"runtime {spec.runtime} is not verified here: {runtime.reason}"
    have = ", ".join(r.name for r in runtimes if r.state == "verified") or "none"
    return f"runtime {spec.runtime} is not on this node (verified: {have})"


def _set(state: State, copy: Copy, status: str, detail: str = "") -> None:
    status, detail = lifecycle.observe(copy.status, status), plain(detail, DETAIL_LIMIT)
    if (status, detail) != (copy.status, copy.detail):
        copy.status, copy.detail = status, detail
        state.member.note(copy.at)


def _by_id(state: State, id: str) -> Copy | None:
    """Linear, but over one node's instances only."""
    return next((copy for copy in state.copies.values() if copy.id == id), None)


def _started(state: State, message: m.Started, now: Now, decision: Decision) -> None:
    copy = _by_id(state, message.handle.id)
    if copy is None:
        decision.actions.append(m.Remove(message.driver, message.handle.id, 0.0))
    elif copy.phase == "starting":
        _runs(state, copy, message.driver, message.handle, now)
        reconcile(state, copy.at, now, decision)


def _runs(state: State, copy: Copy, driver: str, handle: Handle, now: Now) -> None:
    copy.phase, copy.driver, copy.runtime = "running", driver, handle.runtime
    copy.running_since = copy.changed_at = now.mono
    copy.started_at, copy.address, copy.exit_code = handle.started_at, handle.address, None
    copy.status, copy.detail = lifecycle.RUNNING, ""
    state.member.note(copy.at)


def _start_failed(state: State, message: m.StartFailed, now: Now, decision: Decision) -> None:
    copy = _by_id(state, message.id)
    if copy is None or copy.phase != "starting":
        return
    copy.changed_at, copy.driver = now.mono, ""
    if message.why == "unsupported":
        _end(state, copy, lifecycle.DEAD, message.detail)
        return
    if message.why == "engine":  # says nothing about the instance: no failure of its own is counted
        copy.phase, copy.start_at = "waiting", now.mono + ENGINE_RETRY_S
        _set(state, copy, lifecycle.FAILED, message.detail)
        return
    _try_later(state, copy, message.detail, now)
    reconcile(state, copy.at, now, decision)


def _exited(state: State, id: str, exit_code: int, detail: str, now: Now, decision: Decision) -> None:
    copy = _by_id(state, id)
    if copy is None or copy.phase != "running":
        return
    wanted = state.wanted.get(copy.at)
    copy.exit_code, copy.address, copy.changed_at = exit_code, "", now.mono
    if wanted is None:
        return
    if now.mono - copy.running_since >= HEALTHY_AFTER_S:
        copy.attempts = 0
    policy = wanted.spec.restart.policy
    words = detail or f"exited with code {exit_code}"
    if exit_code == 0 and (wanted.spec.one_shot or policy != "always"):
        _end(state, copy, lifecycle.COMPLETED, words)
    elif policy == "never":
        _end(state, copy, lifecycle.DEAD, words)
    else:
        copy.restarts += 1
        _try_later(state, copy, words, now)


def _try_later(state: State, copy: Copy, detail: str, now: Now) -> None:
    wanted = state.wanted.get(copy.at)
    policy = wanted.spec.restart if wanted else RestartPolicy()
    copy.attempts += 1
    if policy.max_attempts and copy.attempts > policy.max_attempts:
        _end(state, copy, lifecycle.DEAD, f"gave up after {copy.attempts} failures: {detail}")
        return
    delay = backoff_s(policy, copy.attempts, state.rng.random())
    copy.phase, copy.start_at = "waiting", now.mono + delay
    _set(state, copy, lifecycle.FAILED, f"{detail}; again in {delay:.1f} s")


def backoff_s(policy: RestartPolicy, attempts: int, chance: float) -> float:
    """Seconds until the next start: nearly none after the first failure, then doubling, with up to 20 % jitter."""
    if attempts <= 1:
        return FIRST_RESTART_S
    return min(policy.backoff_s * 2 ** min(attempts - 2, 30), policy.longest_backoff_s) * (0.8 + 0.4 * chance)


def _removed(state: State, message: m.Removed, now: Now, decision: Decision) -> None:
    copy = _by_id(state, message.id)
    if copy is None or copy.phase != "stopping":
        return
    if message.problem:  # whoever still wants it starts it again; whoever does not stops it again
        copy.phase, copy.changed_at, copy.start_at = "waiting", now.mono, now.mono + ENGINE_RETRY_S
        _set(state, copy, lifecycle.FAILED, f"cannot be stopped: {message.problem}")
        return
    _forget(state, copy)
    reconcile(state, copy.at, now, decision)


def _progressed(state: State, message: m.Progressed) -> None:
    copy = _by_id(state, message.id)
    if copy is not None and copy.phase == "starting":
        _set(state, copy, lifecycle.CREATING, message.detail)


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
            _exited(state, copy.id, 255, "vanished from its engine", now, decision)
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
        return _remove(state, copy, wanted.spec.stop_grace_s if wanted else 10.0, decision)
    if copy is None:
        copy = state.copies[handle.key] = _copy_of(wanted)
        copy.id = handle.id
    if copy.phase == "ended" and not copy.driver:
        copy.driver, copy.runtime = message.driver, handle.runtime  # what is left of it goes when it is removed
    if copy.id != handle.id or (copy.driver and copy.driver != message.driver):
        decision.actions.append(m.Remove(message.driver, handle.id, 0.0))
    elif handle.state == "running" and copy.phase in ("waiting", "running"):
        if copy.phase == "waiting":
            _runs(state, copy, message.driver, handle, now)
    elif handle.state == "stopped" and (copy.phase == "running" or not copy.driver) and copy.phase != "ended":
        _runs(state, copy, message.driver, handle, now)
        code = 255 if handle.exit_code is None else handle.exit_code
        _exited(state, handle.id, code, handle.detail, now, decision)


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
        decision.sends.append(_answer(state, query, "", "the instance has no container on this node"))
    else:
        decision.actions.append(m.ReadLogs(copy.driver, copy.id, query))


def _answer(state: State, query: Query, text: str, error: str) -> Send:
    topic = topics.NODE_ANSWER.format(cluster=state.cluster, node=state.meta.node)
    return Send(topic, Answer(id=state.ids(), cause=query.id, text=text, error=error))
