"""Whatever comes by MQTT in the right shape, no decision raises: a process that ended on it would end on every copy."""

from __future__ import annotations

import random
from typing import Any

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from spinney_cluster import decide as cluster
from spinney_cluster.state import begin as begin_cluster
from spinney_node import decide as node
from spinney_node.state import begin as begin_node
from spinney_root import decide as root
from spinney_root.state import begin as begin_root
from spinney_shared import lifecycle, topics
from spinney_shared.bus import Incoming
from spinney_shared.deciding import Connected, Now, Tick
from spinney_shared.loop import encoded
from spinney_shared.messages import MAX_MESSAGE_BYTES
from spinney_shared.model import NodeInfo
from spinney_shared.receiving import Receiver

TEXT = st.sampled_from(["m", "m", "m", "n", "", "a#b", "x\x00y", "../..", "é" * 50, "+", "container", *lifecycle.STEPS])
SMALL = st.integers(-2, 6)
SESSION = st.sampled_from(["", "s", "00000001-a", "zzz", "THEIRS"])
RESOURCES = st.fixed_dictionaries({}, optional={"memory_mib": st.sampled_from([-1, 0, 5, 2**53]), "gpus": SMALL})
RUNTIME = st.fixed_dictionaries(
    {"name": TEXT, "driver": TEXT, "state": st.sampled_from(["verified", "failed"])},
    optional={"default": st.booleans()},
)
INFO = st.fixed_dictionaries(
    {"name": TEXT}, optional={"capacity": RESOURCES, "runtimes": st.lists(RUNTIME, max_size=3)}
)
PORT = st.fixed_dictionaries({"host": SMALL, "container": SMALL})
SPEC = st.fixed_dictionaries(
    {"id": TEXT, "generation": SMALL, "job_name": TEXT, "image": TEXT},
    optional={
        "resources": RESOURCES, "ports": st.lists(PORT, max_size=2),
        "runtime": TEXT, "one_shot": st.booleans(), "lost_after_s": st.sampled_from([-1.0, 0.0, 1e308]),
    },
)  # fmt: skip
NUMBERS = st.lists(SMALL, max_size=4)
SEEN = st.fixed_dictionaries(
    {"microservice": TEXT, "number": SMALL, "generation": SMALL, "status": TEXT},
    optional={"detail": TEXT, "node": TEXT},
)
NODE = st.fixed_dictionaries({"id": TEXT, "info": INFO}, optional={"online": st.booleans(), "gone": st.booleans()})
SUMMARY = st.fixed_dictionaries(
    {}, optional={"nodes": SMALL, "runtimes": st.lists(st.fixed_dictionaries({"name": TEXT}, optional={
        "verified": SMALL, "free": RESOURCES, "largest": RESOURCES}), max_size=2)},
)  # fmt: skip
WANTED = st.fixed_dictionaries({"spec": SPEC, "numbers": NUMBERS})
UNWANTED = st.fixed_dictionaries({"microservice": TEXT, "numbers": NUMBERS})
BODIES: dict[str, st.SearchStrategy[dict[str, Any]]] = {
    "presence": st.fixed_dictionaries({"session": SESSION, "online": st.booleans()}),
    "announce": st.fixed_dictionaries({"session": SESSION, "node": INFO, "identity": TEXT, "name": TEXT}),
    "desired": st.fixed_dictionaries(
        {
            "session": st.sampled_from([*["THEIRS"] * 5, "s"]), "epoch": st.sampled_from([1, 1, 1, 0, 2]),
            "revision": SMALL, "base": st.sampled_from([None, None, None, -1, 0, 1, 2, 3]),
            "need_report": st.booleans(), "put": st.lists(WANTED, max_size=3), "remove": st.lists(UNWANTED, max_size=2),
        },
        optional={"part": st.sampled_from([0, 0, 1, 2, -1]), "parts": st.sampled_from([1, 1, 2, 2, 0, -1])},
    ),
    "report": st.fixed_dictionaries(
        {
            "session": st.sampled_from([*["s"] * 5, "", "zzz"]), "sequence": st.integers(-2, 40), "full": st.booleans(),
            "need_full": st.booleans(), "observations": st.lists(SEEN, max_size=4),
        },
        optional={
            "epoch": SMALL, "revision": SMALL, "part": SMALL, "parts": SMALL, "summary": SUMMARY,
            "nodes": st.lists(NODE, max_size=2),
        },
    ),
    "query": st.fixed_dictionaries(
        {"what": st.just("logs"), "microservice": TEXT, "number": SMALL, "tail_bytes": SMALL}
    ),
    "answer": st.fixed_dictionaries({"cause": TEXT, "text": TEXT}),
}  # fmt: skip
NAMES = st.sampled_from(["c", "c", "other"])


def messages(*kinds: str) -> st.SearchStrategy[Any]:
    one = st.sampled_from(kinds).flatmap(lambda kind: st.tuples(st.just(kind), NAMES, BODIES[kind]))
    return st.lists(one, min_size=12, max_size=25)


def survives(service: Any, state: Any, rows: dict[str, topics.Topic], messages: Any, session: str) -> None:
    receiver, now = Receiver(), 1000.0
    batch: list[Any] = [Connected()]
    for kind, name, body in messages:
        if kind not in rows:
            continue
        if body.get("session") == "THEIRS":
            body = {**body, "session": session}
        topic = rows[kind].filter().replace("cluster/+", f"cluster/{name}").replace("node/+", f"node/{name}")
        received = receiver.receive(Incoming(topic, msgspec.json.encode({"id": "x", **body})))
        if received is not None:
            batch += [received, Tick()]
    for message in batch:
        now += 3.0
        decision = service.decide(state, message, Now(now, now))
        decision.add(service.settle(state, Now(now, now)))
        for send in decision.sends:
            out = encoded(send)
            assert topics.find(out.topic) is not None
            assert len(out.payload) <= MAX_MESSAGE_BYTES


HARD = settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))


@HARD
@given(messages=messages("desired", "desired", "desired", "report", "report", "announce", "presence", "query"))
def test_no_message_raises_in_a_cluster(messages: Any) -> None:
    state = begin_cluster("c", [], random.Random(1), 0.0)
    rows = {"desired": topics.CLUSTER_DESIRED, "query": topics.CLUSTER_QUERY, "report": topics.NODE_REPORT,
            "presence": topics.NODE_PRESENCE, "announce": topics.NODE_ANNOUNCE,
            "answer": topics.NODE_ANSWER}  # fmt: skip
    survives(cluster, state, rows, messages, state.member.session)
    fresh = begin_cluster("c", [*state.specs.values(), *state.instances.values(), *state.nodes.values()],
                          random.Random(2), 0.0)  # fmt: skip
    assert fresh.by_node == {node: keys for node, keys in state.by_node.items() if keys}
    assert fresh.waiting == state.waiting


@HARD
@given(messages=messages("report", "report", "announce", "presence", "answer"))
def test_no_message_raises_in_the_root(messages: Any) -> None:
    state = begin_root([], random.Random(1), "secret", 0.0)
    rows = {"report": topics.CLUSTER_REPORT, "presence": topics.CLUSTER_PRESENCE,
            "announce": topics.CLUSTER_ANNOUNCE, "answer": topics.CLUSTER_ANSWER}  # fmt: skip
    survives(root, state, rows, messages, "s")


@HARD
@given(messages=messages("desired", "query"))
def test_no_message_raises_in_a_node(messages: Any) -> None:
    state = begin_node(NodeInfo("n"), "c", ["engine"], [], random.Random(1), "machine")
    rows = {"desired": topics.NODE_DESIRED, "query": topics.NODE_QUERY}
    survives(node, state, rows, messages, state.member.session)
    assert set(state.copies) == set(state.wanted)
