"""What the root does about a message: pure decisions, no I/O.

Commands come from REST (`Asked`) and as events by MQTT; both become changes here, and both are answered only after the
changes are durable. What the clusters report comes in by the sync protocol and goes out as lifecycle events.
"""

from __future__ import annotations

from msgspec import Struct
from msgspec.structs import replace
from spinney_shared import lifecycle, topics
from spinney_shared.deciding import Connected, Decision, Disconnected, Now, Reply, Send, Tick
from spinney_shared.messages import Answer, ClusterAnnounce, Observation, Presence, Query, Report
from spinney_shared.model import InstanceKey
from spinney_shared.receiving import Received

from . import telling
from .assign import assign, move_on, try_again
from .carry_out import carry_out, drop_instance
from .commands import AnyCommand
from .events import on_event
from .state import Cluster, Instance, NodeView, State

SILENT_AFTER_S = 10.0
"""A cluster that has not reported for this long is offline, whatever the broker thinks: three reports missed."""

ANSWERS_KEPT_S = 24 * 3600.0
"""How long an event's id is remembered; a sender repeats itself within seconds."""

QUERY_TIMEOUT_S = 10.0


class Asked(Struct, frozen=True):
    """A command of a caller in this process."""

    token: int
    command: AnyCommand


class AskedLogs(Struct, frozen=True):
    """A caller in this process wants the end of an instance's log; the reply is an `Answer`."""

    token: int
    at: InstanceKey
    tail_bytes: int


Message = Received | Asked | AskedLogs | Connected | Disconnected | Tick


def decide(state: State, message: Message, now: Now) -> Decision:
    """One message's decision; the state's records are changed through its `put` and `drop`."""
    decision = Decision()
    match message:
        case Received():
            _received(state, message, now, decision)
        case Asked():
            result = carry_out(state, message.command, state.ids(), now)
            decision.replies.append(Reply(message.token, result))
        case AskedLogs():
            _ask_logs(state, message, now, decision)
        case Tick():
            _tick(state, now, decision)
        case Connected():
            state.connected = True
            state.owner.silent_since(now.mono)  # we were away: nobody else's silence counts
        case Disconnected():
            state.connected = False
    decision.changes += state.take_changes()
    return decision


def settle(state: State, now: Now) -> Decision:
    """What the whole batch asks for: clusters for whoever waits, one merged message per cluster, lifecycle events."""
    decision = Decision()
    if state.place_due:
        state.place_due = False
        decision.why += assign(state, state.waiting)
    decision.changes += state.take_changes()
    if state.connected:
        decision.sends += telling.tell_clusters(state, now)
    decision.sends += telling.lifecycle_events(state, now)
    return decision


def _received(state: State, received: Received, now: Now, decision: Decision) -> None:
    message, names = received.message, received.names
    match received.topic, message:
        case topics.CLUSTER_REPORT, Report():
            _report(state, names["cluster"], message, now)
        case topics.CLUSTER_ANNOUNCE, ClusterAnnounce():
            _announce(state, names["cluster"], message)
        case topics.CLUSTER_PRESENCE, Presence():
            if state.owner.on_presence(names["cluster"], message, now.mono):
                _presence_changed(state, names["cluster"])
        case topics.CLUSTER_ANSWER, Answer():
            asked = state.asked.pop(message.cause, None)
            if asked:
                decision.replies.append(Reply(asked[0], message))
        case ((topics.DEPLOY | topics.UNDEPLOY | topics.SCALE), bytes()):
            decision.sends.append(on_event(state, received, now))


def _announce(state: State, name: str, announce: ClusterAnnounce) -> None:
    known = state.clusters.get(name)
    if announce.name != name or (known and announce.session < known.announce.session):
        return
    if known is None or known.announce != announce:
        state.put(replace(known, announce=announce) if known else Cluster(announce))
    state.place_due = True


def _presence_changed(state: State, name: str) -> None:
    state.news_clusters.add(name)
    state.owner.peer(name).need_report = True
    state.owner.dirty.add(name)
    state.place_due = True


def _report(state: State, cluster: str, report: Report, now: Now) -> None:
    seen = state.owner.on_report(cluster, report, now.mono)
    if seen.came_online:
        _presence_changed(state, cluster)
    if seen.stale:
        return
    known = state.clusters.get(cluster)
    if known is None or known.announce.session != report.session:
        state.owner.peer(cluster).need_report = True  # its announcement got lost
    if known and report.summary is not None and report.summary != known.summary:
        state.put(replace(known, summary=report.summary), later=True)
        try_again(state, cluster, known.summary)
        state.place_due = True
    for node in report.nodes:
        telling.note_node(state, NodeView(cluster, node))
    for observation in seen.observations:
        _observed(state, cluster, observation, report.id)
    if seen.complete is not None:
        _completed(state, cluster, seen.complete)


def _observed(state: State, cluster: str, seen: Observation, cause: str) -> None:
    instance = state.instances.get(seen.key)
    if instance is None or instance.cluster != cluster:
        return
    if seen.status == lifecycle.UNDEPLOYED:
        if instance.removing:
            drop_instance(state, instance)
        return
    if instance.removing or seen.generation != instance.generation:
        return
    status = lifecycle.observe(instance.status, seen.status)
    news = replace(instance, status=status, detail=seen.detail, seen=seen, cause=cause)
    if (news.status, news.seen) != (instance.status, instance.seen):
        state.put(news, later=status not in lifecycle.ENDED)
        if status in lifecycle.UNSCHEDULABLE and cluster not in instance.tried:
            move_on(state, news)


def _completed(state: State, cluster: str, listed: frozenset[InstanceKey]) -> None:
    """A full report has told everything that the cluster has."""
    gone = [at for at in state.removing.get(cluster, set()) if at not in listed and state.owner.knows(cluster, at)]
    for at in sorted(gone):
        drop_instance(state, state.instances[at])
    for at in sorted(state.by_cluster.get(cluster, set())):
        if at not in listed and state.owner.knows(cluster, at):
            state.owner.touch(cluster, at)


def _tick(state: State, now: Now, decision: Decision) -> None:
    for answered in list(state.answered.values()):
        if now.wall - answered.at < ANSWERS_KEPT_S:
            break  # they are in the order they were given
        state.drop(answered)
    for query, (token, deadline) in list(state.asked.items()):
        if now.mono >= deadline:
            del state.asked[query]
            answer = Answer(id=state.ids(), cause=query, error="no answer from the instance's node in time")
            decision.replies.append(Reply(token, answer))
    if not state.connected:
        return
    for name, peer in state.owner.peers.items():
        if peer.online and now.mono - peer.last_seen >= SILENT_AFTER_S:
            peer.online = False
            state.news_clusters.add(name)


def _ask_logs(state: State, asked: AskedLogs, now: Now, decision: Decision) -> None:
    instance: Instance | None = state.instances.get(asked.at)
    why = ""
    if instance is None or instance.removing:
        why = "no such instance"
    elif not instance.cluster or instance.seen is None or not instance.seen.node:
        why = f"the instance is on no node yet (status {instance.status})"
    elif not state.owner.peer(instance.cluster).online:
        why = f"cluster {instance.cluster} is offline"
    query = Query(
        id=state.ids(),
        what="logs",
        microservice=asked.at.microservice,
        number=asked.at.number,
        tail_bytes=asked.tail_bytes,
    )
    if why or instance is None:
        decision.replies.append(Reply(asked.token, Answer(id=state.ids(), cause=query.id, error=why)))
        return
    state.asked[query.id] = (asked.token, now.mono + QUERY_TIMEOUT_S)
    decision.sends.append(Send(topics.CLUSTER_QUERY.format(cluster=instance.cluster), query))
