"""What a cluster does about a message: pure decisions, no I/O.

The root's wishes come in as a desired set, become instances here, find a node (`assign`), and go out as each node's
desired set. What nodes report goes up again. A node that is lost keeps its instances on the books until another node
really takes them over, so that a flapping link never restarts what still runs.
"""

from __future__ import annotations

from msgspec.structs import replace
from spinney_shared import lifecycle, topics
from spinney_shared.deciding import Connected, Decision, Disconnected, Now, Send, Tick
from spinney_shared.messages import Answer, Desired, NodeAnnounce, Observation, Presence, Query, Report, Wanted
from spinney_shared.model import MOST_OF_A_MACHINE, InstanceKey
from spinney_shared.receiving import Received

from .assign import assign, refit
from .state import Instance, Node, Specification, State
from .telling import tell_nodes, tell_root

SILENT_AFTER_S = 10.0
"""A node that has not reported for this long is offline, whatever the broker thinks: three reports missed."""

Message = Received | Connected | Disconnected | Tick


def decide(state: State, message: Message, now: Now) -> Decision:
    """One message's decision; the state's records are changed through its `put` and `forget`."""
    decision = Decision()
    match message:
        case Received():
            decision.sends += _received(state, message, now)
        case Tick():
            if state.connected:
                _tick(state, now)
        case Connected():
            state.connected, state.announced = True, False
            state.owner.silent_since(now.mono)  # we were away: nobody else's silence counts
            for node in state.nodes:
                if not state.owner.peer(node).online and state.live_of(node).offline_since is None:
                    state.live_of(node).offline_since = now.mono
            state.member.reconnected()
        case Disconnected():
            state.connected = False
    decision.changes += state.take_changes()
    return decision


def settle(state: State, now: Now) -> Decision:
    """What the whole batch asks for: places for whoever waits, then one merged message per node and one to the root."""
    decision = Decision()
    if state.place_due:
        state.place_due = False
        decision.why += assign(state)
    decision.changes += state.take_changes()
    if state.connected:
        decision.sends += tell_nodes(state, now) + tell_root(state, now)
        state.cause = ""
    return decision


def _received(state: State, received: Received, now: Now) -> list[Send]:
    message = received.message
    match received.topic, message:
        case topics.CLUSTER_DESIRED, Desired():
            _desired(state, message)
        case topics.NODE_REPORT, Report():
            _report(state, received.names["node"], message, now)
        case topics.NODE_ANNOUNCE, NodeAnnounce():
            _announce(state, received.names["node"], message)
        case topics.NODE_PRESENCE, Presence():
            _presence(state, received.names["node"], message, now)
        case topics.CLUSTER_QUERY, Query():
            return [_passed_down(state, message)]
        case topics.NODE_ANSWER, Answer():
            return [Send(topics.CLUSTER_ANSWER.format(cluster=state.name), message)]
    return []


def _desired(state: State, desired: Desired) -> None:
    applied = state.member.on_desired(desired)
    if desired.need_report and desired.session == state.member.session:
        state.announced = False  # whoever misses reports may have missed this too
    if applied is None:
        return
    state.cause = desired.id
    touched: set[InstanceKey] = set()
    for item in applied.put:
        touched.update(_wanted(state, item))
    unwanted = [InstanceKey(item.microservice, number) for item in applied.remove for number in item.numbers]
    if applied.full:
        unwanted += [at for at in state.instances if at not in touched]
    for at in unwanted:
        _unwanted(state, at)
    state.put(replace(state.meta, up_epoch=state.member.epoch, up_revision=state.member.revision))
    state.place_due = True


def _wanted(state: State, item: Wanted) -> list[InstanceKey]:
    spec = item.spec
    keys = [InstanceKey(spec.id, number) for number in item.numbers]
    for at in keys:
        old = state.instances.get(at)
        if old and old.generation == spec.generation and not old.removing:
            continue
        if (spec.id, spec.generation) not in state.specs:
            state.put(Specification(spec))
        state.gone.pop(at, None)
        node = refit(state, old, spec) if old else ""
        status = lifecycle.NODE_SCHEDULED if node else lifecycle.CLUSTER_SCHEDULED
        state.put(Instance(at.microservice, at.number, spec.generation, status=status, node=node))
        state.member.note(at)
    return keys


def _unwanted(state: State, at: InstanceKey) -> None:
    instance = state.instances.get(at)
    if instance is None:
        state.gone[at] = 0
        state.member.note(at)
    elif instance.node and state.live_of(instance.node).offline_since is None:
        if not instance.removing:
            state.put(replace(instance, removing=True))
    else:
        forget(state, instance)


def forget(state: State, instance: Instance) -> None:
    """The instance is gone, as far as anyone can tell; the root is told."""
    state.forget(instance)
    state.gone[instance.at] = instance.generation
    state.member.note(instance.at)


def _announce(state: State, node: str, announce: NodeAnnounce) -> None:
    known = state.nodes.get(node)
    if known and announce.session < known.session:
        return
    info = replace(announce.node, capacity=announce.node.capacity.within(0, MOST_OF_A_MACHINE))
    if known is None or known.info != info or known.session != announce.session:
        state.put(Node(node, info, announce.session))
    state.news_nodes.add(node)
    state.place_due = True


def _presence(state: State, node: str, presence: Presence, now: Now) -> None:
    changed = state.owner.on_presence(node, presence, now.mono)
    if changed and presence.online:
        _came_online(state, node)
    elif changed:
        state.live_of(node).offline_since = now.mono
    state.news_nodes.add(node)


def _came_online(state: State, node: str) -> None:
    live = state.live_of(node)
    live.offline_since, live.confirmed = None, False
    state.owner.peer(node).need_report = True
    state.owner.dirty.add(node)
    state.orphaned -= state.by_node.get(node, set())
    state.news_nodes.add(node)


def _report(state: State, node: str, report: Report, now: Now) -> None:
    seen = state.owner.on_report(node, report, now.mono)
    if seen.came_online or seen.new_session:
        _came_online(state, node)
    if seen.stale:
        return
    state.cause = report.id
    live = state.live_of(node)
    if node not in state.nodes or state.nodes[node].session != report.session:
        state.owner.peer(node).need_report = True  # its announcement got lost
    if report.usage is not None and report.usage != live.usage:
        live.usage = report.usage
        state.news_nodes.add(node)
    for observation in seen.observations:
        _observed(state, node, observation)
    if seen.complete is not None:
        _completed(state, node, seen.complete)


def _observed(state: State, node: str, seen: Observation) -> None:
    instance, live = state.instances.get(seen.key), state.live_of(node)
    if seen.status == lifecycle.UNDEPLOYED:
        _gone(state, node, seen.key)
    elif instance is None or instance.node != node:
        live.strangers.add(seen.key)
    elif seen.generation != instance.generation:
        if seen.key not in live.leaving:
            live.strangers.add(seen.key)  # an older copy that we forgot in a restart: what it holds is not known
    elif not instance.removing:
        live.strangers.discard(seen.key)
        if live.leaving.pop(seen.key, None) is not None:  # the copy of the older generation is gone
            state.place_due = True
        status = lifecycle.observe(instance.status, seen.status)
        if (status in lifecycle.ENDED) != (instance.status in lifecycle.ENDED):
            state.place_due = True  # what it held is free now
        news = replace(instance, status=status, detail=seen.detail, seen=seen)
        if news != instance:
            state.put(news, later=status not in lifecycle.ENDED)
            state.member.note(instance.at)


def _gone(state: State, node: str, at: InstanceKey) -> None:
    """The node has no copy of this instance (any more)."""
    instance, live = state.instances.get(at), state.live_of(node)
    live.strangers.discard(at)
    if live.leaving.pop(at, None) is not None or instance is not None:
        state.place_due = True
    if instance and instance.removing and instance.node == node:
        forget(state, instance)


def _completed(state: State, node: str, listed: frozenset[InstanceKey]) -> None:
    """A full report has told everything that is there."""
    live, wanted = state.live_of(node), state.by_node.get(node, set())
    live.strangers = {at for at in listed if at not in wanted or at in live.strangers}
    for at in [at for at in live.leaving if at not in listed and state.owner.knows(node, at)]:
        _gone(state, node, at)
    for at in [at for at in sorted(wanted) if at not in listed and state.owner.knows(node, at)]:
        state.owner.touch(node, at)
    live.confirmed = True
    state.place_due = True


def _tick(state: State, now: Now) -> None:
    for node, peer in state.owner.peers.items():
        if peer.online and now.mono - peer.last_seen >= SILENT_AFTER_S:
            peer.online = False
            state.live_of(node).offline_since = peer.last_seen
            state.news_nodes.add(node)
    for node, live in state.live.items():
        if live.offline_since is not None:
            _lose(state, node, now.mono - live.offline_since)


def _lose(state: State, node: str, away_s: float) -> None:
    """Seek other nodes for the instances of one that has been away for too long."""
    name = state.nodes[node].info.name if node in state.nodes else node
    for at in sorted(state.by_node.get(node, set()) - state.orphaned):
        instance = state.instances[at]
        patience_s = min(state.will_grace_s, state.spec_of(instance).lost_after_s)
        if away_s < patience_s or instance.status in lifecycle.ENDED:
            continue
        state.orphaned.add(at)
        state.place_due = True
        state.put(
            replace(instance, status=lifecycle.FAILED, detail=f"node {name} is lost; seeking another"), later=True
        )
        state.member.note(at)
    for at in list(state.live_of(node).leaving):
        instance = state.instances.get(at)
        if instance and instance.removing and instance.node == node:
            forget(state, instance)


def _passed_down(state: State, query: Query) -> Send:
    """The question to the node that has the instance, or the answer that none has."""
    instance = state.instances.get(InstanceKey(query.microservice, query.number))
    if instance is None or not instance.node:
        answer = Answer(id=state.ids(), cause=query.id, error="the instance is on no node")
        return Send(topics.CLUSTER_ANSWER.format(cluster=state.name), answer)
    return Send(topics.NODE_QUERY.format(cluster=state.name, node=instance.node), query)
