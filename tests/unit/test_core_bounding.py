"""Whatever nodes, runtimes and users say, no message between tiers is too large, and nothing of it cannot be stored."""

from __future__ import annotations

import random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from spinney_cluster.decide import decide, settle
from spinney_cluster.state import begin
from spinney_shared import topics
from spinney_shared.bounding import fitted, plain, size
from spinney_shared.bus import Incoming
from spinney_shared.deciding import Connected, Now
from spinney_shared.loop import encoded
from spinney_shared.messages import MAX_MESSAGE_BYTES, Desired, NodeAnnounce, Observation, Report, Wanted
from spinney_shared.model import MicroserviceSpec, NodeInfo, Resources, RuntimeInfo
from spinney_shared.receiving import Received, Receiver
from spinney_shared.sync import Member

WORDS = st.text(st.characters(), max_size=2000)
KEYS = st.text(st.characters(exclude_characters="\0"), max_size=200)


@given(words=WORDS, longest=st.integers(1, 600))
def test_plain_words_can_be_printed_sent_and_stored(words: str, longest: int) -> None:
    out = plain(words, longest)
    assert len(out) <= longest
    assert out.isprintable()
    msgspec.json.encode(out)
    if words.isprintable() and len(words) <= longest:
        assert out == words


@given(reasons=st.lists(WORDS, max_size=60), labels=st.dictionaries(KEYS, WORDS, max_size=20))
def test_what_a_node_says_of_itself_is_cut_to_size(reasons: list[str], labels: dict[str, str]) -> None:
    runtimes = tuple(RuntimeInfo(f"r{n}", "d", "failed", reason=reason) for n, reason in enumerate(reasons))
    info = fitted(NodeInfo("n", runtimes=runtimes, labels=labels), 16 * 1024)
    assert size(info) <= 16 * 1024
    msgspec.json.decode(msgspec.json.encode(info), type=NodeInfo)


def test_what_is_small_enough_stays_as_it_is() -> None:
    info = NodeInfo("n", runtimes=(RuntimeInfo("runc", "d", "failed", reason="line\nline"),))
    assert fitted(info, 10_000) is info


@pytest.mark.parametrize("detail", ["x" * 500, '"' * 500, "\x01" * 500, "€" * 500, "x" * 100_000])
def test_reports_of_many_instances_with_long_words_fit(detail: str) -> None:
    member = Member("s")
    spread = {f"m{n}": n for n in range(400)}

    def observe(at):
        return Observation(
            microservice=at.microservice, number=at.number, generation=1, status="FAILED", detail=detail, runtime=detail
        )

    member.news = {msgspec.convert((name, n), tuple) for name, n in spread.items()}  # type: ignore[assignment]
    keys = [Observation(microservice=m, number=n, generation=1, status="").key for m, n in spread.items()]
    reports = member.flush(100.0, 3.0, observe, lambda: keys, lambda: "id" * 12)
    assert max(size(report) for report in reports) < MAX_MESSAGE_BYTES
    assert [o.key for report in reports for o in report.observations] == sorted(keys)
    assert [report.sequence for report in reports] == list(range(1, len(reports) + 1))
    assert {report.parts for report in reports} == {len(reports)}


def _cluster_with_talkative_nodes(count: int, info: NodeInfo, detail: str) -> list[Incoming]:
    """What a cluster says to the root when every node is at its worst and has one instance."""
    state, now = begin("c", [], random.Random(1), 0.0), Now(1000.0, 0.0)
    spec = MicroserviceSpec("m", 1, "job", "image")
    desired = Desired(
        id="d", session=state.member.session, epoch=1, revision=1, put=(Wanted(spec, tuple(range(count))),)
    )
    batch = [Connected(), Received(topics.CLUSTER_DESIRED, {"cluster": "c"}, desired)]
    for n in range(count):
        seen = Observation(microservice="m", number=n, generation=1, status="RUNNING", detail=detail, node_name=detail)
        names = {"cluster": "c", "node": f"n{n}"}
        batch.append(Received(topics.NODE_ANNOUNCE, names, NodeAnnounce(id="a", session="s", node=info)))
        for sequence, observations in ((1, ()), (2, (seen,))):
            report = Report(
                id="r", session="s", sequence=sequence, epoch=state.owner.epoch, full=True, observations=observations
            )
            batch.append(Received(topics.NODE_REPORT, names, report))
    out = []
    for message in batch:
        out += decide(state, message, now).sends
    state.member.reconnected()
    out += settle(state, now).sends
    return [Incoming(send.topic, encoded(send).payload) for send in out]


@pytest.mark.parametrize("words", ["r" * 600, "\x00" * 600, "名" * 20_000])
def test_a_cluster_of_nodes_with_many_long_reasons_is_understood_by_the_root(words: str) -> None:
    runtimes = tuple(RuntimeInfo(f"{n}-{words[:100]}", "d", "failed", reason=f"{n} {words}") for n in range(30))
    info = NodeInfo("n", runtimes=runtimes, capacity=Resources(memory_mib=2**53), labels={"rack": words})
    receiver = Receiver()
    understood = [receiver.receive(incoming) for incoming in _cluster_with_talkative_nodes(60, info, words)]
    assert not receiver.dropped
    reports = [r.message for r in understood if r is not None and isinstance(r.message, Report)]
    assert sum(len(report.nodes) for report in reports) == 60
    assert any(report.summary for report in reports)


@pytest.mark.parametrize(
    "payload",
    [b'{"id":"a","session":"s","node":{"name":"n","capacity":{"memory_mib":1e30}}}',
     b'{"id":"a","session":"s","node":{"name":"n","capacity":{"memory_mib":18446744073709551615}}}',
     b'{"id":"a","session":"s","node":{"name":"n","labels":{"a\\u0000b":"x"}}}'],
)  # fmt: skip
def test_what_a_database_cannot_hold_is_dropped_at_the_door(payload: bytes) -> None:
    receiver = Receiver()
    assert receiver.receive(Incoming(topics.NODE_ANNOUNCE.format(cluster="c", node="n"), payload)) is None
    assert receiver.dropped


@pytest.mark.parametrize("field", ["restarts", "exit_code", "number", "generation"])
def test_numbers_beyond_all_measure_are_dropped_at_the_door(field: str) -> None:
    seen = {"microservice": "m", "number": 0, "generation": 1, "status": "RUNNING", field: 2**64}
    payload = msgspec.json.encode({"id": "r", "session": "s", "sequence": 1, "observations": [seen]})
    receiver = Receiver()
    assert receiver.receive(Incoming(topics.NODE_REPORT.format(cluster="c", node="n"), payload)) is None
