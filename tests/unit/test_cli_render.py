"""Tables and lines for people: they fit, lose nothing, and cannot be used to steer the terminal."""

import io

import msgspec
import pytest
from rich.console import Console, RenderableType
from spinney import render
from spinney.shapes import Event, Node, Service
from spinney_root.shapes import NodeAnswer, ServiceAnswer
from spinney_shared.messages import CloudEvent
from spinney_shared.model import RuntimeInfo

from tests.cli_root import event, instance, node, service


def read(answer: ServiceAnswer) -> Service:
    return msgspec.json.decode(msgspec.json.encode(answer), type=Service)


def read_node(answer: NodeAnswer) -> Node:
    return msgspec.json.decode(msgspec.json.encode(answer), type=Node)


def read_event(sent: CloudEvent) -> Event:
    return msgspec.json.decode(msgspec.json.encode(sent), type=Event)


def shown(*parts: RenderableType) -> str:
    out = Console(file=io.StringIO(), width=80)
    for part in parts:
        out.print(part)
    assert isinstance(out.file, io.StringIO)
    return out.file.getvalue()


def letters(text: str) -> str:
    return "".join(text.split())


def test_long_names_are_folded_never_cut_off() -> None:
    name = "m" * 30
    answer = service(instance(0, "NO_QUALIFIED_WORKER_FOUND", "x" * 300), name=name, app=name)
    text = shown(render.instances_table([read(answer)]), *render.instance_notes([read(answer)]))
    assert max(len(line) for line in text.splitlines()) <= 80
    assert letters(text).count("m") >= 60 + 60
    assert text.count("x") == 300
    assert "…" not in text


def test_verified_runtimes_come_first_and_failed_ones_say_why() -> None:
    one = read_node(node())
    text = shown(render.runtimes_table([one]), *render.runtime_notes([one]))
    assert text.index("runc") < text.index("crun")
    assert "crun on node-1: hybrid cgroups → use cgroup v2" in text


def test_a_node_without_a_runtime_says_so() -> None:
    failed = RuntimeInfo(name="crun", driver="containerd", state="failed")
    text = shown(render.nodes_table([read_node(node(runtimes=(failed,), online=False))]))
    assert "none" in text
    assert "offline" in text


def test_what_keeps_a_driver_from_working_is_shown() -> None:
    one = read_node(node(problems=("containerd: no socket",)))
    assert "node-1: containerd: no socket" in shown(*render.node_notes([one]))


@pytest.mark.parametrize(
    ("data", "line"),
    [
        ({"job_name": "a.b.c.d", "instance": 2, "status": "RUNNING"}, "instance a.b.c.d 2 RUNNING"),
        ({"job_name": "a.b.c.d", "instance": 2, "status": "DEAD", "status_detail": "ex\x1b[2Jit"}, "DEAD: ex [2Jit"),
    ],
)
def test_an_event_is_one_line_and_harmless(data: dict[str, object], line: str) -> None:
    text = render.event_line(read_event(event(**data))).plain
    assert text.endswith(line)
    assert text.startswith("03:04:05.678 instance ")
    assert "\x1b" not in text


def test_a_runtime_event_names_runtime_node_and_reason() -> None:
    sent = CloudEvent(
        id="e",
        source="/spinney/root",
        type="spinney.runtime.failed",
        subject="n/crun",
        time="2026-01-02T03:04:05.678+00:00",
        data={"node_name": "node-1", "runtime": "crun", "reason": "hybrid"},
    )
    assert render.event_line(read_event(sent)).plain == "03:04:05.678 runtime crun on node-1 failed: hybrid"


@pytest.mark.parametrize(
    ("duration_s", "words"), [(0.0004, "1 ms"), (0.084, "84 ms"), (1.0, "1.00 s"), (9.876, "9.88 s"), (61.26, "61.3 s")]
)
def test_durations_are_short(duration_s: float, words: str) -> None:
    assert render.seconds(duration_s) == words
