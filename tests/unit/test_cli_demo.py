"""The demonstration's pure parts: what it publishes, and how it tells its steps."""

import io
from pathlib import Path

import msgspec
import pytest
from rich.console import Console
from spinney.demo.announced import Announcements
from spinney.demo.application import NAME, SERVICE, cloud_event, sla
from spinney.demo.errors import DemoFailed
from spinney.demo.publish import arguments
from spinney.demo.steps import Steps
from spinney.errors import CommandError
from spinney.stack import StackError
from spinney_root import sla as root_sla
from spinney_shared import topics
from spinney_shared.messages import NodeAnnounce, Presence
from spinney_shared.model import NodeInfo, RuntimeInfo

LOGS = Path("/state/logs")


def log_file() -> Console:
    return Console(file=io.StringIO(), width=80)


def text(out: Console) -> str:
    assert isinstance(out.file, io.StringIO)
    return out.file.getvalue()


def test_the_root_accepts_what_the_demo_deploys() -> None:
    id, inner = root_sla.unwrap(cloud_event("e1", "deploy", sla("127.0.0.1:5000/spinney/hello:1")))
    assert id == "e1"
    assert isinstance(inner, bytes)
    (application,) = root_sla.parse(inner, default_replicas=1)
    assert (application.name, application.microservices[0].name) == (NAME, SERVICE)
    assert application.microservices[0].replicas == 1


def test_what_a_node_said_before_it_was_started_anew_does_not_count() -> None:
    names = {"cluster": "local", "node": "n1"}
    announce, presence = topics.NODE_ANNOUNCE.format(**names), topics.NODE_PRESENCE.format(**names)

    def told(session: str, runtime: str) -> bytes:
        info = NodeInfo(name="node-1", runtimes=(RuntimeInfo(name=runtime, driver="containerd", state="verified"),))
        return msgspec.json.encode(NodeAnnounce(id="m", session=session, node=info))

    def there(session: str) -> bytes:
        return msgspec.json.encode(Presence(id="m", session=session, online=True, at=1.0))

    heard = Announcements()
    assert heard.hear(announce, told("old", "runc")) is None
    assert heard.hear(presence, there("new")) is None
    now = heard.hear(announce, told("new", "crun"))
    assert now is not None
    assert (now.name, [one.name for one in now.runtimes]) == ("node-1", ["crun"])


def test_no_login_is_on_the_command_line() -> None:
    words = arguments("scale", "client/demo/1", b'{"a": 1}')
    assert words[:4] == ["-t", "spinney/v1/events/scale", "-e", "client/demo/1"]
    assert words[-2:] == ["-m", '{"a": 1}']
    assert not {"-u", "-P", "-L"} & set(words)


def test_a_step_is_told_with_its_end_and_its_time() -> None:
    out = log_file()
    steps = Steps(out, LOGS)
    with steps.step("Do it") as step:
        step.show("half")
        step.show("half")
        step.note("a note")
        step.change("another")
        step.change("another")
        step.result = "done"
    lines = [line.rstrip() for line in text(out).splitlines()]
    assert lines[:4] == [" 1 Do it", "   half", "   a note", "   another"]
    assert lines[4].startswith(" ✓ done")
    assert lines[4].endswith(" ms")
    assert len(lines) == 5
    assert [title for title, _ in steps.took] == ["Do it"]


@pytest.mark.parametrize("error", [StackError("containerd needs root"), CommandError("root not reachable")])
def test_a_failure_names_the_step_the_reason_and_where_to_look(error: Exception) -> None:
    out = log_file()
    steps = Steps(out, LOGS)
    with pytest.raises(DemoFailed) as caught, steps.step("Do it"):
        raise error
    for words in ("failed at: Do it", str(error), str(LOGS), "spinney status"):
        assert words in str(caught.value)
    assert "✗ failed" in text(out)
    assert steps.took == []


def test_long_words_are_folded_to_80_columns_and_nothing_is_lost() -> None:
    out = log_file()
    with Steps(out, LOGS).step("Push") as step:
        step.note("n" * 200)
        step.result = "r" * 200
    assert max(len(line) for line in text(out).splitlines()) <= 80
    assert text(out).count("n") == 200
    assert text(out).count("r") == 200
