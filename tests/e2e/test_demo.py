"""`spinney demo` as a user runs it, in a folder of its own: it can be cut short, it comes to its end, nothing stays."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from spinney.stack import SERVICES, SUPPORT, Stack
from spinney.stack.process import find_processes
from spinney.stack.services import bridge

from tests.services import need

LIMIT_S = 100
STEPS = ("Start every part", "Wait for the node", "Build a small", "Publish a deploy event", "Wait until it runs")
STEPS += ("Fetch its page", "Scale to 3", "Kill one container", "Undeploy", "Stop everything")


@pytest.fixture
def state_dir(tmp_path: Path) -> Iterator[Path]:
    need("mosquitto", "mosquitto_rr", "containerd", "ctr", "runc", "docker-registry", "busybox")
    yield tmp_path / "state"
    shutil.rmtree(tmp_path / "state", ignore_errors=True)


def demo(state_dir: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "spinney", "demo", "--state-dir", str(state_dir)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def cut_short(state_dir: Path, at: str) -> str:
    """Run the demo and press Ctrl-C when it says `at`; what it said."""
    said = []
    with demo(state_dir) as process:
        assert process.stdout is not None
        for line in process.stdout:
            said.append(line)
            if at in line:
                process.send_signal(signal.SIGINT)
    assert process.returncode == 1, "".join(said)
    return "".join(said)


def assert_nothing_left(state_dir: Path) -> None:
    stack = Stack(state_dir)
    assert stack.running() == []
    assert find_processes("containerd", str(stack.containerd.config_file)) == []
    assert find_processes("containerd-shim", str(stack.containerd.socket)) == []
    assert not (Path("/sys/class/net") / bridge(stack.folder)).exists()
    assert not stack.folder.runtime_folder.exists()


def test_cut_short_and_then_to_its_end(state_dir: Path) -> None:
    said = cut_short(state_dir, at="RUNNING on node-1")
    assert "interrupted; everything of this stack has ended" in said
    assert_nothing_left(state_dir)

    with demo(state_dir) as process:
        said, _ = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 0, said
    for number, title in enumerate(STEPS, start=1):
        assert re.search(rf"^ ?{number} {title}.*(\n .*)*\n ✓ .*\d m?s", said, re.MULTILINE), f"{title}\n{said}"
    assert f"{len(SUPPORT) + len(SERVICES)} processes serve" in said
    assert "an earlier run was cut short" in said
    assert "“Hello from a container" in said
    assert re.search(r"\bcrun +node-1 +(failed|verified)", said)
    assert re.search(r"\btrial\.demo web +1 +RUNNING +runc +node-1 +[0-9.]+ +1\b", said), "the killed one came back"
    assert "All of it worked" in said
    assert "\x1b" not in said
    assert_nothing_left(state_dir)
