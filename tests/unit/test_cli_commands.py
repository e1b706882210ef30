"""The `spinney` command as a user types it, against a root with the real shapes of answers."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from spinney import options, waiting
from spinney.__main__ import application
from spinney.table import COMMANDS
from spinney_shared.messages import Problem
from typer.testing import CliRunner, Result

from tests.cli_root import PASSWORD, URL, FakeRoot, event, instance, service


@pytest.fixture
def root(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeRoot:
    made = FakeRoot(service(instance(0), instance(1)), service(instance(0), name="db"), service(app="other"))
    password = tmp_path / "password"
    password.write_text(PASSWORD)
    monkeypatch.setattr(options, "Client", made.client)
    monkeypatch.setattr(waiting, "LOOK_EVERY_S", 0)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("SPINNEY_URL", URL)
    monkeypatch.setenv("SPINNEY_PASSWORD_FILE", str(password))
    monkeypatch.setenv("NO_COLOR", "1")
    return made


def spinney(*words: str, stdin: str = "") -> Result:
    return CliRunner().invoke(application(words), list(words), input=stdin, prog_name="spinney")


def test_every_command_of_the_table_is_there_and_explains_itself() -> None:
    for row in COMMANDS:
        shown = spinney(row.name, "--help")
        assert shown.exit_code == 0, row.name
        assert f"Usage: spinney {row.name}" in shown.stdout


def test_help_lists_all_commands() -> None:
    shown = spinney("--help")
    assert shown.exit_code == 0
    assert all(row.name in shown.stdout for row in COMMANDS)


def test_help_loads_no_commands_and_looking_loads_no_stack() -> None:
    code = "import sys; from spinney.__main__ import application; application([sys.argv[1]]); print(*sys.modules)"
    loaded = {
        word: subprocess.run([sys.executable, "-c", code, word], capture_output=True, text=True, check=True).stdout
        for word in ("--help", "nodes")
    }
    assert "httpx" not in loaded["--help"].split()
    assert "httpx" in loaded["nodes"].split()
    assert "spinney.stack.up" not in loaded["nodes"].split()


@pytest.mark.parametrize("words", [["nonsense"], ["scale", "web"], ["scale", "web", "many"], ["scale", "web", "-1"]])
def test_asking_in_a_wrong_way_is_status_2(words: list[str]) -> None:
    assert spinney(*words).exit_code == 2


def test_status_shows_everything_without_colours(root: FakeRoot) -> None:
    shown = spinney("status")
    assert shown.exit_code == 0
    for words in (f"root at {URL}: ready", "local", "node-1", "1.5 of 2", "1.5 of 2.0", "runc", "hello.demo", "2/2"):
        assert words in shown.stdout
    assert "\x1b" not in shown.stdout


@pytest.mark.parametrize(
    ("command", "first"), [("nodes", "id-node"), ("apps", "id-hello-web"), ("status", "id-cluster")]
)
def test_json_is_json_and_nothing_else(root: FakeRoot, command: str, first: str) -> None:
    found = json.loads(spinney(command, "--json").stdout)
    if command == "status":
        assert found["root"] == {"ready": True, "waiting_for": []}
        found = found["clusters"]
    assert first in found[0].values()


def test_runtimes_say_why_they_failed_and_what_mends_it(root: FakeRoot) -> None:
    shown = spinney("runtimes").stdout
    assert "88 ms" in shown
    assert "crun on node-1: hybrid cgroups → use cgroup v2" in shown


def test_instances_of_one_service(root: FakeRoot) -> None:
    shown = spinney("instances", "db").stdout
    assert "hello.demo db" in shown
    assert "hello.demo web" not in shown


def test_deploy_waits_and_shows_what_runs(root: FakeRoot, tmp_path: Path) -> None:
    document = tmp_path / "sla.json"
    document.write_text("{}")
    shown = spinney("deploy", str(document))
    assert shown.exit_code == 0
    assert "accepted: hello.demo.web.demo (id-hello-web)" in shown.stdout
    assert "10.112.0.3" in shown.stdout


def test_deploy_from_stdin_for_programs(root: FakeRoot) -> None:
    shown = spinney("deploy", "-", "--json", stdin='{"sla_version": "v2.0"}')
    assert json.loads(shown.stdout)["microservices"]["hello.demo.web.demo"] == "id-hello-web"
    assert root.asked[1].content == b'{"sla_version": "v2.0"}'


def test_a_broken_document_shows_every_error_with_its_path(root: FakeRoot) -> None:
    root.problems = (Problem("$.applications[0].x", "unknown field"), Problem("$.customerID", "missing"))
    shown = spinney("deploy", "-", stdin="{}")
    assert shown.exit_code == 1
    assert shown.stdout == ""
    assert shown.stderr.splitlines() == [
        "refused: 2 problems",
        "  $.applications[0].x: unknown field",
        "  $.customerID: missing",
    ]


def test_a_file_that_is_not_there_is_said(root: FakeRoot) -> None:
    shown = spinney("deploy", "/no/such.json")
    assert shown.exit_code == 1
    assert "/no/such.json cannot be read: No such file" in shown.stderr


def test_what_the_node_gave_up_ends_the_wait_with_the_reason(root: FakeRoot) -> None:
    root.services = [service(instance(0), instance(1, "DEAD", "no such image"))]
    shown = spinney("deploy", "-", stdin="{}")
    assert shown.exit_code == 1
    assert "1 of hello.demo.web.demo: DEAD: no such image" in shown.stderr


def test_no_wait_does_not_wait(root: FakeRoot) -> None:
    root.services = [service(instance(0, "CREATING"))]
    assert spinney("deploy", "-", "--no-wait", stdin="{}").exit_code == 0


def test_scale_takes_a_short_name(root: FakeRoot) -> None:
    assert spinney("scale", "db", "1", "--no-wait").exit_code == 0
    put = root.asked[-1]
    assert (put.method, put.url.path) == ("PUT", "/api/v1/services/id-hello-db/replicas")
    assert json.loads(put.content) == {"replicas": 1}


def test_a_name_of_two_things_is_refused_and_shows_both(root: FakeRoot) -> None:
    shown = spinney("scale", "web", "3")
    assert shown.exit_code == 1
    assert "fits more than one service: hello.demo.web.demo, other.demo.web.demo" in shown.stderr
    assert {r.method for r in root.asked} == {"GET", "POST"}


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("hello", "/api/application/id-hello"),
        ("other.demo", "/api/application/id-other"),
        ("id-hello-db", "/api/service/id-hello-db"),
        ("hello.demo.web.demo", "/api/service/id-hello-web"),
    ],
)
def test_delete_finds_applications_and_services(root: FakeRoot, name: str, path: str) -> None:
    assert spinney("delete", name).exit_code == 0
    assert (root.asked[-1].method, root.asked[-1].url.path) == ("DELETE", path)


def test_delete_of_what_is_not_there_lists_what_is(root: FakeRoot) -> None:
    shown = spinney("delete", "nix")
    assert shown.exit_code == 1
    assert "there is no application or service 'nix'. There are: hello.demo, other.demo, hello." in shown.stderr


def test_logs_are_written_as_they_are(root: FakeRoot) -> None:
    assert spinney("logs", "hello.demo.web.demo", "1", "--tail-bytes", "9").stdout == "log of 1, 9 bytes\n"
    assert spinney("logs", "db").stdout == "log of 0, 65536 bytes\n"


def test_logs_of_nothing_say_how_to_get_an_instance(root: FakeRoot) -> None:
    shown = spinney("logs", "id-other-web")
    assert shown.exit_code == 1
    assert "`spinney scale web 1` makes one" in shown.stderr


def test_events_are_one_line_each_and_an_end_is_said(root: FakeRoot) -> None:
    root.events = [event(job_name="hello.demo.web.demo", instance=1, status="FAILED", status_detail="signal 9")] * 2
    shown = spinney("events", "--follow")
    assert shown.stdout.splitlines() == ["03:04:05.678 instance hello.demo.web.demo 1 FAILED: signal 9"] * 2
    assert shown.exit_code == 1
    assert "the root ended the stream" in shown.stderr
    lines = spinney("events", "--json").stdout.splitlines()
    assert [json.loads(line)["data"]["instance"] for line in lines] == [1, 1]


def test_a_root_that_is_away_is_said_with_what_to_do(root: FakeRoot) -> None:
    root.down = True
    shown = spinney("apps")
    assert shown.exit_code == 1
    assert f"root not reachable at {URL} (Connection refused): is the stack up? Try `spinney up`" in shown.stderr


def test_login_keeps_the_tokens_and_later_commands_use_them(root: FakeRoot, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spinney.commands.account.Client", root.client)
    assert spinney("login").exit_code == 0
    monkeypatch.delenv("SPINNEY_PASSWORD_FILE")
    root.asked.clear()
    assert spinney("nodes").exit_code == 0
    assert [r.url.path for r in root.asked] == ["/api/v1/nodes"]
