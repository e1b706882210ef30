"""One instance's next step: what should run is compared with what is known of the copy here.

`reconcile` is called after anything changed for an instance, and takes the one step to take now, if there is one. The
other functions note what became of earlier steps.
"""

from __future__ import annotations

from msgspec.structs import replace
from spinney_shared import lifecycle
from spinney_shared.bounding import plain
from spinney_shared.deciding import Decision, Now
from spinney_shared.model import DEFAULT_RUNTIME, InstanceKey, MicroserviceSpec, RestartPolicy, RuntimeInfo, driver_id
from spinney_shared.sync import DETAIL_LIMIT

from . import messages as m
from .drivers import Handle, Workload
from .state import Copy, State, Wanted

HEALTHY_AFTER_S = 10.0
"""An instance that ran this long and ended is not in a crash loop: its count of failures starts again."""

FIRST_RESTART_S = 0.1
"""A first failure is mended nearly at once; the policy's back-off starts with the second."""

ENGINE_RETRY_S = 2.0


def reconcile(state: State, at: InstanceKey, now: Now, decision: Decision) -> None:
    """Take the next step for one instance, if there is one to take now."""
    wanted, copy = state.wanted.get(at), state.copies.get(at)
    if wanted is None:
        if copy is not None and copy.phase != "stopping":
            remove(state, copy, 10.0, decision)
        return
    if copy is None:
        copy = state.copies[at] = copy_of(wanted)
    if copy.phase == "stopping":
        return
    if copy.generation != wanted.spec.generation:
        if copy.driver:
            remove(state, copy, wanted.spec.stop_grace_s, decision)
            return
        copy = state.copies[at] = copy_of(wanted)  # nothing of the old generation is in any engine
        state.member.note(at)
    if copy.phase == "waiting" and now.mono >= copy.start_at:
        _start(state, copy, wanted, now, decision)


def copy_of(wanted: Wanted) -> Copy:
    """What is known of an instance that no engine has: it waits to be started, or has ended for good."""
    generation = wanted.spec.generation
    copy = Copy(at=wanted.at, generation=generation, id=driver_id(wanted.at, generation))
    if wanted.ended:
        copy.phase, copy.status, copy.detail, copy.exit_code = "ended", wanted.ended, wanted.why, wanted.exit_code
    return copy


def end(state: State, copy: Copy, status: str, detail: str) -> None:
    """It will not be started again; that is remembered beyond the process and the machine's power."""
    copy.phase = "ended"
    show(state, copy, status, detail)
    wanted = state.wanted.get(copy.at)
    if wanted is not None and wanted.spec.generation == copy.generation:
        state.put(replace(wanted, ended=copy.status, why=copy.detail, exit_code=copy.exit_code))


def _start(state: State, copy: Copy, wanted: Wanted, now: Now, decision: Decision) -> None:
    runtime = runtime_for(wanted.spec, state.runtimes())
    if runtime is None:
        problems = [f"; {name}: {driver.problem}" for name, driver in state.drivers.items() if driver.problem]
        show(state, copy, lifecycle.FAILED, why_not(wanted.spec, state.runtimes()) + "".join(problems))
        copy.start_at = now.mono + ENGINE_RETRY_S
        return
    if not state.drivers[runtime.driver].listed:
        return  # it may run already; the listing reconciles everything again
    copy.phase, copy.driver, copy.runtime = "starting", runtime.driver, runtime.name
    copy.changed_at = now.mono
    show(state, copy, lifecycle.CREATING, f"starting on {runtime.name}")
    workload = Workload(id=copy.id, number=copy.at.number, runtime=runtime.name, spec=wanted.spec)
    decision.actions.append(m.Start(runtime.driver, workload))


def remove(state: State, copy: Copy, grace_s: float, decision: Decision) -> None:
    """Stop the copy and remove what is left of it."""
    copy.phase = "stopping"
    if not copy.driver:  # never got as far as an engine
        forget(state, copy)
        return
    decision.actions.append(m.Remove(copy.driver, copy.id, grace_s))


def forget(state: State, copy: Copy) -> None:
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


def show(state: State, copy: Copy, status: str, detail: str = "") -> None:
    """Say what is seen of the copy; news only when it is."""
    status, detail = lifecycle.observe(copy.status, status), plain(detail, DETAIL_LIMIT)
    if (status, detail) != (copy.status, copy.detail):
        copy.status, copy.detail = status, detail
        state.member.note(copy.at)


def by_id(state: State, id: str) -> Copy | None:
    """Linear, but over one node's instances only."""
    return next((copy for copy in state.copies.values() if copy.id == id), None)


def runs(state: State, copy: Copy, driver: str, handle: Handle, now: Now) -> None:
    """The copy runs: it was started, or found running."""
    copy.phase, copy.driver, copy.runtime = "running", driver, handle.runtime
    copy.running_since = copy.changed_at = now.mono
    copy.started_at, copy.address, copy.exit_code = handle.started_at, handle.address, None
    copy.status, copy.detail = lifecycle.RUNNING, ""
    state.member.note(copy.at)


def exited(state: State, id: str, exit_code: int, detail: str, now: Now, decision: Decision) -> None:
    """The copy ended by itself: for good, or to be started again, as its policy says."""
    copy = by_id(state, id)
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
        end(state, copy, lifecycle.COMPLETED, words)
    elif policy == "never":
        end(state, copy, lifecycle.DEAD, words)
    else:
        copy.restarts += 1
        try_later(state, copy, words, now)


def try_later(state: State, copy: Copy, detail: str, now: Now) -> None:
    """One more failure: start again after the back-off, or give up."""
    wanted = state.wanted.get(copy.at)
    policy = wanted.spec.restart if wanted else RestartPolicy()
    copy.attempts += 1
    if policy.max_attempts and copy.attempts > policy.max_attempts:
        end(state, copy, lifecycle.DEAD, f"gave up after {copy.attempts} failures: {detail}")
        return
    delay = backoff_s(policy, copy.attempts, state.rng.random())
    copy.phase, copy.start_at = "waiting", now.mono + delay
    show(state, copy, lifecycle.FAILED, f"{detail}; again in {delay:.1f} s")


def backoff_s(policy: RestartPolicy, attempts: int, chance: float) -> float:
    """Seconds until the next start: nearly none after the first failure, then doubling, with up to 20 % jitter."""
    if attempts <= 1:
        return FIRST_RESTART_S
    return min(policy.backoff_s * 2 ** min(attempts - 2, 30), policy.longest_backoff_s) * (0.8 + 0.4 * chance)
