"""What a node says to its cluster: who it is, and what it sees of its instances."""

from __future__ import annotations

from msgspec.structs import replace
from spinney_shared import lifecycle, topics
from spinney_shared.bounding import fitted
from spinney_shared.deciding import Now, Send
from spinney_shared.messages import Answer, NodeAnnounce, Observation, Presence, Query
from spinney_shared.model import InstanceKey

from .reconcile import copy_of
from .state import State

ANNOUNCE_BYTES = 128 * 1024
"""Of what the node says of itself: many drivers may have many runtimes that failed with long reasons."""


def announcement(state: State, now: Now) -> list[Send]:
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


def reports(state: State, now: Now) -> list[Send]:
    """The report that is due, in parts, or nothing; nothing either while it is not known what runs here."""
    if not all(driver.listed or driver.problem for driver in state.drivers.values()):
        return []  # a report now would say less than the last one did
    parts = state.member.flush(
        now.mono, state.report_every_s, lambda at: observe(state, at), lambda: _known(state), state.ids, state.cause
    )
    if parts:
        state.gone.clear()
        state.cause = ""
    topic = topics.NODE_REPORT.format(cluster=state.cluster, node=state.meta.node)
    return [Send(topic, replace(part, usage=state.usage)) for part in parts]


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
        copy = copy_of(wanted)
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


def answer(state: State, query: Query, text: str, error: str) -> Send:
    """The answer to a question: text, or why there is none."""
    topic = topics.NODE_ANSWER.format(cluster=state.cluster, node=state.meta.node)
    return Send(topic, Answer(id=state.ids(), cause=query.id, text=text, error=error))
