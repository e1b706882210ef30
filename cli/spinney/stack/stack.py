"""The whole local stack, or parts of it, as an asynchronous context manager: what `spinney up`, the demo and tests use.

Supporting parts (broker, database, containerd, registry) start together, then Spinney's own three processes. The end
is the reverse; containers of ours are removed before containerd ends, state stays in the folder.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Self

import anyio
import anyio.to_thread
import msgspec
from anyio.abc import TaskGroup

from .containerd import Containerd
from .daemon import Daemon, PortDaemon
from .errors import StackError
from .files import write_private
from .folder import StateFolder
from .mongod import Mongod
from .mosquitto import Mosquitto
from .ports import LOOPBACK
from .process import ProcessId, end, identify, is_alive
from .registry import Registry
from .services import ACL, ADMIN, DATABASES, FIRST_LOGIN, WATCHER, Cluster, Node, Root, watcher_login
from .settings import DEFAULT_STATE_DIR

SUPPORT = ("mosquitto", "mongod", "containerd", "registry")
SERVICES = ("root", "cluster", "node")
_DOWN_LIMIT_S = 60.0

Say = Callable[[str], None]
"""Told in words what has just been done."""


def _silent(_: str) -> None:
    return


class Stack:
    """A local stack in a state folder. Errors of every method: StackError."""

    def __init__(self, state_dir: Path = DEFAULT_STATE_DIR, say: Say = _silent) -> None:
        self.folder = folder = StateFolder(state_dir)
        self.mosquitto = Mosquitto(folder, ACL)
        self.mongod = Mongod(folder, DATABASES)
        self.containerd = Containerd(folder)
        self.registry = Registry(folder)
        self.root = Root(folder, self.mosquitto, self.mongod)
        self.cluster = Cluster(folder, self.mosquitto, self.mongod)
        self.node = Node(folder, self.mosquitto, self.containerd)
        self.start_seconds: dict[str, float] = {}
        """How long each part took to serve, for people."""
        self._say = say
        self._daemons: dict[str, Daemon] = {name: getattr(self, name) for name in (*SUPPORT, *SERVICES)}

    async def __aenter__(self) -> Self:
        """Take the folder; end what a crash left in it. Nothing is started yet."""
        self.folder.lock()
        me = identify(os.getpid())
        write_private(self._record, msgspec.json.encode(me).decode())
        await self._end(SERVICES)
        await self._end(SUPPORT)
        return self

    async def __aexit__(self, *_: object) -> None:
        """End everything, also when cancelled: nothing of ours stays behind."""
        with anyio.CancelScope(shield=True):
            await self.stop()
        self._record.unlink(missing_ok=True)
        self.folder.unlock()

    async def start(self, names: Iterable[str] = (*SUPPORT, *SERVICES)) -> None:
        """Start these parts (all by default) and wait until they serve; supporting parts first."""
        wanted = set(names)
        for wave in (SUPPORT, SERVICES):
            await self._start_together([name for name in wave if name in wanted])

    async def start_one(self, name: str) -> None:
        """Start one part and wait until it serves; fine when it runs."""
        daemon, begun = self._daemons[name], time.monotonic()
        await anyio.to_thread.run_sync(daemon.start)
        self.start_seconds[name] = time.monotonic() - begun
        if name == "mosquitto":
            self.mosquitto.write_login("client", self.folder.client)
            self.mosquitto.write_login(WATCHER, watcher_login(self.folder))
        self._say(f"{name} serves{_where(daemon)} after {self.start_seconds[name]:.2f} s")

    async def stop(self) -> None:
        """End every part in order; remove this stack's containers. Fine when nothing runs."""
        await self._end(SERVICES)
        try:
            await anyio.to_thread.run_sync(self._remove_containers)
        finally:
            await self._end(SUPPORT)
            await anyio.to_thread.run_sync(self.folder.remove_runtime_folder)

    async def stop_one(self, name: str) -> None:
        """End one part in order; containers run on."""
        await anyio.to_thread.run_sync(self._daemons[name].stop)

    async def kill(self, name: str, number: int = signal.SIGKILL) -> None:
        """Send one part a signal, as a crash would."""
        await anyio.to_thread.run_sync(self._daemons[name].kill, number)

    async def restart(self, name: str) -> None:
        """End one part and start it again."""
        await self.stop_one(name)
        await self.start_one(name)

    def dead(self) -> list[str]:
        """The parts that were started and have ended without being told to."""
        return [name for name, daemon in self._daemons.items() if daemon.process.record.exists() and not daemon.running]

    def running(self) -> list[str]:
        """The parts that run now, whoever started them."""
        return [name for name, daemon in self._daemons.items() if daemon.running]

    def owner(self) -> ProcessId | None:
        """The living process that has this stack up."""
        try:
            owner = msgspec.json.decode(self._record.read_bytes(), type=ProcessId)
        except (FileNotFoundError, msgspec.DecodeError):
            return None
        return owner if is_alive(owner) else None

    def last_words(self, name: str) -> str:
        """The end of the part's log."""
        return self._daemons[name].process.last_words()

    @property
    def rest_url(self) -> str:
        """The root's REST API."""
        return f"http://{LOOPBACK}:{self.root.port}"

    @property
    def admin(self) -> str:
        """The name of the first administrator."""
        return ADMIN

    @property
    def admin_password_file(self) -> Path:
        """The private file with the first administrator's password."""
        return self.folder.secret_file(FIRST_LOGIN)

    @property
    def _record(self) -> Path:
        return self.folder.path / "run" / "stack.json"

    def _remove_containers(self) -> None:
        try:
            self.node.remove_instances()
        finally:
            self.containerd.remove_containers()

    async def _start_together(self, names: Sequence[str]) -> None:
        """Start these at once. Raises the first StackError; the others are cut short."""
        errors: list[StackError] = []

        async def start(name: str, group: TaskGroup) -> None:
            try:
                await self.start_one(name)
            except StackError as error:
                errors.append(error)
                group.cancel_scope.cancel()

        async with anyio.create_task_group() as group:
            for name in names:
                group.start_soon(start, name, group)
        if errors:
            raise errors[0]

    async def _end(self, names: Iterable[str]) -> None:
        async with anyio.create_task_group() as group:
            for name in names:
                group.start_soon(self.stop_one, name)


def _where(daemon: Daemon) -> str:
    if isinstance(daemon, PortDaemon):
        return f" on {LOOPBACK}:{daemon.port}"
    return f" on {daemon.socket}" if isinstance(daemon, Containerd) else ""


async def end_stack(state_dir: Path = DEFAULT_STATE_DIR) -> bool:
    """End the stack in this folder, whoever started it: politely when its terminal lives, piece by piece when not.

    Returns whether there was anything to end. Raises StackError.
    """
    stack = Stack(state_dir)
    owner = stack.owner()
    if owner is not None:
        await anyio.to_thread.run_sync(end, owner, _DOWN_LIMIT_S)
    left_over = stack.running()
    async with stack:  # entering ends what a crash left behind, leaving removes its containers
        return owner is not None or bool(left_over)
