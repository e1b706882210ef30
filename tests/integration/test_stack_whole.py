"""The local stack as a whole: one per folder, nothing left behind by a crash, and clear words when a part fails."""

import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest
from spinney.stack import Stack, end_stack
from spinney.stack.daemon import Daemon
from spinney.stack.errors import AlreadyRunning, DiedEarly, NotReady
from spinney.stack.folder import StateFolder
from spinney.stack.ports import free_port
from spinney.stack.process import find_processes, identify

from tests.services import need

PARTS = ("mosquitto", "registry", "containerd")
HOLDER = """
import sys, anyio
from pathlib import Path
from spinney.stack import Stack
async def main():
    async with Stack(Path(sys.argv[1])) as stack:
        await stack.start({parts})
        print("up", flush=True)
        await anyio.sleep_forever()
anyio.run(main)
"""


@pytest.fixture
def state_dir(tmp_path: Path) -> Path:
    need("mosquitto", "mosquitto_passwd", "docker-registry", "containerd", "ctr")
    return tmp_path / "state"


@pytest.fixture
def crashed(state_dir: Path) -> Iterator[Path]:
    """A folder whose stack was left behind by a kill -9 of the process that held it."""
    command = [sys.executable, "-c", HOLDER.format(parts=PARTS), str(state_dir)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"up\n"
        holder.kill()
    yield state_dir
    anyio.run(end_stack, state_dir)


async def test_start_stop_and_state(state_dir: Path) -> None:
    async with Stack(state_dir) as stack:
        await stack.start(PARTS)
        assert set(stack.running()) == set(PARTS)
        secret, port = stack.folder.secret("mqtt-client"), stack.mosquitto.port
        login = (stack.folder.client / "mosquitto_pub").read_text()
        assert secret in login
        assert str(port) in login
    assert stack.running() == []
    assert stack.dead() == []
    async with Stack(state_dir) as again:
        assert again.folder.secret("mqtt-client") == secret
        assert again.mosquitto.port == port


async def test_a_killed_part_is_seen_and_can_be_started_again(state_dir: Path) -> None:
    async with Stack(state_dir) as stack:
        await stack.start(["mosquitto"])
        await stack.kill("mosquitto", signal.SIGKILL)
        assert stack.dead() == ["mosquitto"]
        await stack.start_one("mosquitto")
        assert stack.dead() == []


async def test_a_second_stack_in_the_same_folder_is_refused(state_dir: Path) -> None:
    async with Stack(state_dir):
        with pytest.raises(AlreadyRunning, match="make down"):
            async with Stack(state_dir):
                pytest.fail("two stacks in one folder")


async def test_down_ends_what_a_crash_left_behind(crashed: Path) -> None:
    assert set(Stack(crashed).running()) == set(PARTS)
    assert await end_stack(crashed)
    assert Stack(crashed).running() == []
    assert find_processes("containerd", str(crashed)) == []
    assert not await end_stack(crashed)


async def test_a_new_stack_takes_over_from_a_crash(crashed: Path) -> None:
    async with Stack(crashed) as stack:
        assert stack.running() == []
        await stack.start(PARTS)


async def test_down_ends_the_stack_of_another_terminal(state_dir: Path) -> None:
    holder = await anyio.open_process([sys.executable, "-c", HOLDER.format(parts=["mosquitto"]), str(state_dir)])
    async with holder:
        assert holder.stdout is not None
        await holder.stdout.receive()
        assert await end_stack(state_dir)
        assert await holder.wait() != 0
    assert Stack(state_dir).running() == []


async def test_a_reused_pid_is_not_taken_for_ours(state_dir: Path) -> None:
    """The record names a pid that now belongs to somebody else: it must be left alone."""
    async with Stack(state_dir) as stack:
        await stack.start(["mosquitto"])
        record = stack.mosquitto.process.record
        who = stack.mosquitto.process.who
        assert who is not None
        mine = identify(who.pid)
        record.write_text(f'{{"pid": {who.pid}, "started": {who.started - 1}}}')
        assert not stack.mosquitto.running
        assert identify(who.pid) == mine
        record.write_text(f'{{"pid": {who.pid}, "started": {who.started}}}')


async def test_a_taken_port_is_avoided(state_dir: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        async with Stack(state_dir) as stack:
            stack.mosquitto.port = taken.getsockname()[1]
            await stack.start(["mosquitto"])
            assert stack.mosquitto.port != taken.getsockname()[1]


async def test_a_port_that_is_lost_to_somebody_faster_is_given_up(
    state_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        answers = iter([port, port])  # "free" it was, but by the start it is not, and it even answers
        monkeypatch.setattr("spinney.stack.daemon.free_port", lambda wanted: next(answers, 0) or free_port(0))
        async with Stack(state_dir) as stack:
            await stack.start(["mosquitto"])
            assert stack.mosquitto.port != port
            assert stack.mosquitto.running


class Broken(Daemon):
    name = "broken"
    start_limit_s = 0.1

    def __init__(self, folder: StateFolder, *command: str) -> None:
        super().__init__(folder)
        self._command = command

    def command(self) -> tuple[str, ...]:
        return self._command

    def ready(self) -> bool:
        return False


def test_a_part_that_dies_shows_its_last_words(tmp_path: Path) -> None:
    part = Broken(StateFolder(tmp_path), "sh", "-c", "echo the disk is full; exit 3")
    part.start_limit_s = 10
    with pytest.raises(DiedEarly, match=r"(?s)ended with status 3.*broken\.log.*the disk is full"):
        part.start()
    part.stop()


def test_a_part_that_hangs_shows_its_last_words_and_is_ended(tmp_path: Path) -> None:
    part = Broken(StateFolder(tmp_path), "sh", "-c", "echo waiting; exec sleep 60")
    with pytest.raises(NotReady, match=r"(?s)not ready after 0\.1 s.*waiting"):
        part.start()
    part.stop()
    assert not part.running
