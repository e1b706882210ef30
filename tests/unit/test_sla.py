"""SLA documents: accepted as written, or refused with every mistake and its JSON path."""

from __future__ import annotations

import copy
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from spinney_root import sla
from spinney_root.commands import NewApplication, NewMicroservice, Scale, Undeploy
from spinney_root.sla.collect import MAX_PROBLEMS
from spinney_root.sla.document import Document, Microservice
from spinney_shared.messages import MAX_MESSAGE_BYTES, Problem
from spinney_shared.model import DirectConstraint, PortMapping, Resources

from tests.documents import SEED

MICROSERVICE = "$.applications[0].microservices[0]"


def document(**fields: Any) -> dict[str, Any]:
    """The seed's document with fields of its microservice changed."""
    changed = copy.deepcopy(SEED)
    changed["applications"][0]["microservices"][0].update(fields)
    return changed


def parse(value: Any) -> sla.Parsed:
    return sla.parse(json.dumps(value).encode(), default_replicas=1)


def accepted(**fields: Any) -> NewMicroservice:
    parsed = parse(document(**fields))
    assert isinstance(parsed, tuple), parsed
    return parsed[0].microservices[0]


def refused(value: Any) -> dict[str, str]:
    parsed = parse(value)
    assert isinstance(parsed, list)
    return {problem.path: problem.message for problem in parsed}


def test_the_original_document_is_accepted() -> None:
    parsed = parse(SEED)
    assert isinstance(parsed, tuple)
    (application,) = parsed
    assert (application.name, application.namespace) == ("clientsrvr", "test")
    (nginx,) = application.microservices
    assert nginx.spec.runtime == "runsc"
    assert nginx.spec.resources == Resources(memory_mib=100, cpu_milli=1000)
    assert nginx.replicas == 1
    assert json.loads(nginx.document) == SEED["applications"][0]["microservices"][0]


@pytest.mark.parametrize("word", ["container", "docker", "Docker"])
def test_words_for_the_default_runtime(word: str) -> None:
    assert accepted(virtualization=word).spec.runtime == "container"


@pytest.mark.parametrize(("word", "runtime"), [("unikernel", "unikraft"), ("runc", "runc"), ("kata-fc", "kata-fc")])
def test_other_runtimes_keep_their_name(word: str, runtime: str) -> None:
    assert accepted(virtualization=word).spec.runtime == runtime


@pytest.mark.parametrize(
    ("word", "successor"),
    [("runV", "kata"), ("Clear Containers", "kata"), ("rkt", "runc"), ("dockershim", "docker"), ("frakti", "kata"),
     ("Mesos", "container"), ("OpenVZ", "lxc")],
)  # fmt: skip
def test_retired_runtimes_name_their_successor(word: str, successor: str) -> None:
    assert successor in refused(document(virtualization=word))[f"{MICROSERVICE}.virtualization"]


def test_ports() -> None:
    assert accepted(port="80:81/tcp;9000:90/udp; 8080;").spec.ports == (
        PortMapping(80, 81),
        PortMapping(9000, 90, "udp"),
        PortMapping(8080, 8080),
    )


@pytest.mark.parametrize(
    "port", ["x", "0", "65536", "80:", "80/sctp", "80;80:1/tcp", "1:2:3", "-1", "²", ";".join(map(str, range(1, 200)))]
)
def test_bad_ports(port: str) -> None:
    assert list(refused(document(port=port))) == [f"{MICROSERVICE}.port"]


def test_everything_that_has_a_place_gets_there() -> None:
    made = accepted(
        cmd=["sh", "-c", "sleep 1"], environment=["A=b=c"], vcpus=0.25, storage=5, bandwidth_in=6, bandwidth_out=7,
        vgpus=1, vtpus=2, arch=["arm64"], platform="linux/amd64", one_shot=True, privileged=True, labels={"a": "b"},
        restart={"policy": "on-failure", "max_attempts": 3, "backoff": 90}, disconnect={"lost_after": 3},
        replicas=7, args=["unused"], sla_violation_strategy="x",
    )  # fmt: skip
    spec = made.spec
    assert (spec.command, spec.environment, spec.arch) == (("sh", "-c", "sleep 1"), ("A=b=c",), ("arm64", "amd64"))
    assert spec.resources == Resources(100, 250, 1, 2, 5, 6, 7)
    assert (spec.one_shot, spec.privileged, spec.labels, spec.lost_after_s) == (True, True, {"a": "b"}, 3)
    assert (spec.restart.policy, spec.restart.max_attempts, spec.restart.longest_backoff_s) == ("on-failure", 3, 90)
    assert made.replicas == 7


def test_a_tiny_share_of_a_cpu_does_not_become_none() -> None:
    assert accepted(vcpus=0.0001).spec.resources.cpu_milli == 1


def test_constraints_are_held_together() -> None:
    made = accepted(
        constraints=[
            {"type": "direct", "cluster": "a; b", "node": "x;y"},
            {"type": "clusters", "allowed": ["b", "c"]},
            {"type": "addons", "needs": []},
        ],
        target_node="y",
    )
    assert made.spec.direct == DirectConstraint(("b",), ("y",))


def test_constraints_that_exclude_each_other() -> None:
    constraints = [{"type": "direct", "cluster": "a"}, {"type": "clusters", "allowed": ["b"]}]
    assert list(refused(document(constraints=constraints))) == [f"{MICROSERVICE}.constraints"]


def test_unknown_constraint() -> None:
    found = refused(document(constraints=[{"type": "dirct"}, {"node": "x"}, 5]))
    assert 'did you mean "direct"?' in found[f"{MICROSERVICE}.constraints[0].type"]
    assert "missing" in found[f"{MICROSERVICE}.constraints[1].type"]
    assert f"{MICROSERVICE}.constraints[2]" in found


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("volumes", [{"volume_id": "v", "csi_driver": "local", "mount_path": "/x", "config": {}}]),
        ("added_files", ["a:b"]),
        ("connectivity", [{"target_microservice_id": "x", "con_constraints": []}]),
        ("health", {"http": "/"}),
        ("update", {"parallel": 1}),
        ("depends_on", ["x"]),
        ("spread", "node"),
    ],
)
def test_what_cannot_be_done_yet_is_refused_when_asked_for(field: str, value: Any) -> None:
    assert list(refused(document(**{field: value}))) == [f"{MICROSERVICE}.{field}"]
    accepted(**{field: type(value)()})


@pytest.mark.parametrize("kind", ["geo", "latency", "addons"])
def test_constraints_that_cannot_be_held_yet(kind: str) -> None:
    extra = {"addons": {"needs": ["x"]}, "geo": {"location": "1,2", "threshold": 5, "rigidness": 0.5}}.get(kind, {})
    assert f"{MICROSERVICE}.constraints[0]" in refused(document(constraints=[{"type": kind, **extra}]))


def test_every_mistake_at_once() -> None:
    wrong = document(memory="1", bandwith_out=1, microservice_name="a b", port="x", arch=["x86_64"], environment=["A"])
    wrong["sla_version"] = "v1"
    del wrong["customerID"]
    wrong["surprise"] = {}
    del wrong["applications"][0]["application_name"]
    found = refused(wrong)
    assert 'did you mean "bandwidth_out"?' in found.pop(f"{MICROSERVICE}.bandwith_out")
    assert '"amd64"' in found.pop(f"{MICROSERVICE}.arch[0]")
    assert found.pop("$.customerID") == found.pop("$.applications[0].application_name") == "missing"
    assert set(found) == {
        "$.sla_version",
        "$.surprise",
        *(f"{MICROSERVICE}.{field}" for field in ("memory", "microservice_name", "port", "environment[0]")),
    }


@pytest.mark.parametrize("name", ["", "a-b", "a" * 31, "a\n", "é", "../x"])
def test_bad_names(name: str) -> None:
    assert list(refused(document(microservice_name=name))) == [f"{MICROSERVICE}.microservice_name"]


@pytest.mark.parametrize("rr_ip", ["10.31.0.1", "fdff:2000::1", "x", "10.30.0.256"])
def test_bad_service_addresses(rr_ip: str) -> None:
    assert list(refused(document(addresses={"rr_ip": rr_ip}))) == [f"{MICROSERVICE}.addresses.rr_ip"]


def test_names_that_stand_twice() -> None:
    wrong = copy.deepcopy(SEED)
    wrong["applications"].append(copy.deepcopy(SEED["applications"][0]))
    wrong["applications"][0]["microservices"] *= 2
    assert set(refused(wrong)) == {"$.applications[0].microservices[1]", "$.applications[1]"}


@pytest.mark.parametrize("raw", [b"", b"{", b"nginx", b"\xff\xfe", b"[" * 200_000, b'{"a":' * 40_000, b"1e999"])
def test_what_is_no_json(raw: bytes) -> None:
    parsed = sla.parse(raw, default_replicas=1)
    assert isinstance(parsed, list)
    assert parsed[0].path == "$"


def test_too_many_bytes() -> None:
    parsed = sla.parse(b" " * 1_000_000, default_replicas=1)
    assert parsed == [Problem("$", f"the document has 1,000,000 bytes; at most {MAX_MESSAGE_BYTES:,} are taken")]


def test_a_thousand_microservices() -> None:
    wrong = copy.deepcopy(SEED)
    one = {"microservice_namespace": "n", "code": "i"}
    wrong["applications"][0]["microservices"] = [{**one, "microservice_name": f"m{n}"} for n in range(1000)]
    words = refused(wrong)["$.applications[0].microservices"]
    assert "1,000 microservices" in words
    assert "at most 100" in words


def test_hostile_keys_cost_and_answer_little() -> None:
    parsed = parse({f"key{n}": 0 for n in range(15_000)})
    assert isinstance(parsed, list)
    assert len(parsed) == MAX_PROBLEMS + 1
    assert len(msgspec.json.encode(parsed)) < MAX_MESSAGE_BYTES / 2


def test_an_addition_names_its_application() -> None:
    wanted = copy.deepcopy(SEED)
    assert isinstance(sla.parse_addition(json.dumps(wanted).encode(), default_replicas=0), list)
    wanted["applications"][0]["applicationID"] = "abc"
    short = {"applicationID": "abc", "microservices": wanted["applications"][0]["microservices"]}
    for body in (wanted, short):
        made = sla.parse_addition(json.dumps(body).encode(), default_replicas=0)
        assert isinstance(made, sla.Addition)
        assert (made.application, made.microservices[0].replicas) == ("abc", 0)


def test_one_microservice_bare_or_in_a_document() -> None:
    bare = SEED["applications"][0]["microservices"][0]
    for body in (SEED, bare):
        made = sla.parse_microservice(json.dumps(body).encode(), default_replicas=0)
        assert isinstance(made, NewMicroservice)
        assert made.name == "nginx"
    none = copy.deepcopy(SEED)
    none["applications"][0]["microservices"] = []
    assert isinstance(sla.parse_microservice(json.dumps(none).encode(), default_replicas=0), list)


def test_events_bare_and_as_cloud_event() -> None:
    bare = b'{"microservice": "x", "replicas": 3}'
    envelope = {"specversion": "1.0", "id": "e1", "source": "ci", "type": "scale", "data": json.loads(bare), "more": 1}
    assert sla.unwrap(bare) == ("", bare)
    event, data = sla.unwrap(json.dumps(envelope).encode())
    assert isinstance(data, bytes)
    assert (event, sla.parse_scale(data)) == ("e1", Scale(microservice="x", replicas=3))


def test_a_bad_envelope_keeps_its_id() -> None:
    event, found = sla.unwrap(b'{"specversion": "2.0", "id": "e1", "source": ""}')
    assert event == "e1"
    assert [problem.path for problem in found if isinstance(problem, Problem)] == [
        "$.specversion", "$.source", "$.type", "$.data",
    ]  # fmt: skip
    assert sla.unwrap(b'{"specversion": "1.0", "id": 5}')[0] == ""


def test_undeploy_names_exactly_one() -> None:
    assert sla.parse_undeploy(b'{"application": "a.b"}') == Undeploy(application="a.b")
    assert sla.parse_undeploy(b'{"microservice": "a.b.c.d"}') == Undeploy(microservice="a.b.c.d")
    for raw in (b"{}", b'{"application": "a", "microservice": "b"}', b'{"aplication": "a"}', b"[]"):
        assert isinstance(sla.parse_undeploy(raw), list)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=12), inner, max_size=3),
    max_leaves=6,
)
keys = st.sampled_from([*Microservice.__struct_fields__, *Document.__struct_fields__, "type", "from"]) | st.text(
    max_size=9
)


def _containers(value: Any) -> list[Any]:
    below = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [value, *(c for item in below for c in _containers(item))] if isinstance(value, dict | list) else []


@st.composite
def mutated(draw: st.DrawFn) -> Any:
    """The seed's document after a few random edits anywhere in it."""
    value = copy.deepcopy(SEED)
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.sampled_from(_containers(value)))
        if isinstance(place, dict):
            key = draw(keys | st.sampled_from(sorted(place) or ["x"]))
            place.pop(key, None) if draw(st.booleans()) else place.update({key: draw(json_values)})
        else:
            place.append(draw(json_values))
    return value


@given(mutated())
@settings(max_examples=200, deadline=None)
def test_every_mutated_document_is_accepted_or_explained(value: Any) -> None:
    parsed = parse(value)
    assert parsed
    if isinstance(parsed, tuple):
        assert all(isinstance(application, NewApplication) for application in parsed)
        msgspec.json.encode(parsed)
    else:
        assert all(problem.path.startswith("$") and problem.message for problem in parsed)
        msgspec.json.encode(parsed)


@given(st.binary(max_size=200) | json_values.map(lambda value: json.dumps(value).encode()))
@settings(max_examples=300, deadline=None)
def test_no_bytes_crash_a_parser(raw: bytes) -> None:
    assert isinstance(sla.parse(raw, default_replicas=1), list)
    for parser in (sla.parse_undeploy, sla.parse_scale, sla.unwrap):
        parser(raw)
    sla.parse_addition(raw, default_replicas=0)
    sla.parse_microservice(raw, default_replicas=0)
