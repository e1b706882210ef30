"""containerd of the local stack: the machine's own when it runs, else one of ours with its own socket and folders.

Ours keeps sockets and mounts under /run: those paths must be short (a UNIX socket's has 107 bytes), and what is there
must not outlive a reboot. On the machine's own we use a namespace that is this stack's alone, and touch no other.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from .daemon import Daemon
from .errors import StackError
from .files import write_private
from .folder import StateFolder
from .process import ProcessId, end, find_processes, wait_gone
from .tools import program, run

SYSTEM_SOCKET = Path("/run/containerd/containerd.sock")
_PACKAGE = "containerd"
_SHIM_GRACE_S = 2.0

_UNUSED_PLUGINS = (
    "io.containerd.grpc.v1.cri",  # Kubernetes' interface: not ours, and half of the daemon's memory
    "io.containerd.snapshotter.v1.aufs",
    "io.containerd.snapshotter.v1.btrfs",
    "io.containerd.snapshotter.v1.devmapper",
    "io.containerd.snapshotter.v1.zfs",
)


def configuration(root: Path, state: Path, socket: Path) -> str:
    """The text of containerd's config.toml."""
    unused = ", ".join(f'"{plugin}"' for plugin in _UNUSED_PLUGINS)
    lines = [
        "version = 2",
        f'root = "{root}"',
        f'state = "{state}"',
        f"disabled_plugins = [{unused}]",
        "[grpc]",
        f'  address = "{socket}"',
        "[debug]",
        '  level = "warn"',
        '[plugins."io.containerd.internal.v1.opt"]',
        f'  path = "{root}/opt"',
    ]
    return "\n".join(lines) + "\n"


class Containerd(Daemon):
    """The containerd the node uses: `socket`, `namespace`; ``own`` tells whether it is our process."""

    name = "containerd"

    def __init__(self, folder: StateFolder, system_socket: Path = SYSTEM_SOCKET) -> None:
        super().__init__(folder)
        self._system_socket = system_socket
        self._run = folder.runtime_folder / "containerd"
        self.own = self.running or not _answers(system_socket)

    @property
    def socket(self) -> Path:
        """Where it listens."""
        return self._run / "containerd.sock" if self.own else self._system_socket

    @property
    def config_file(self) -> Path:
        """Its configuration, from which the node learns the runtimes it names."""
        return self.folder.config("containerd.toml") if self.own else Path("/etc/containerd/config.toml")

    @property
    def namespace(self) -> str:
        """containerd's namespace for this stack's containers."""
        return f"spinney-{self.folder.short_id}"

    def start(self) -> None:
        """Start ours, unless the machine's own is used. Raises StackError."""
        if self.own:
            super().start()

    def prepare(self) -> None:
        """Write the configuration; make the folder for the socket. Raises StackError for anybody but root."""
        if os.geteuid() != 0:
            raise StackError("containerd needs root: run this as root (or start a containerd that you may use)")
        self._run.mkdir(mode=0o700, parents=True, exist_ok=True)
        text = configuration(self.folder.data(self.name), self._run / "state", self.socket)
        write_private(self.config_file, text)

    def command(self) -> Sequence[str]:
        """containerd with our configuration."""
        return [program("containerd", _PACKAGE), "--config", str(self.config_file)]

    def ready(self) -> bool:
        """Whether it answers on its socket."""
        return _answers(self.socket)

    def has_containers(self) -> bool:
        """Whether containers of this stack are there. Starts our containerd for it when a crash left its shims."""
        if self.own and not self.running and self._shims():
            self.start()  # containers outlive a containerd that crashed, and only containerd can end them cleanly
        return _answers(self.socket) and any(self._list(name, "containers") for name in self._namespaces())

    def remove_containers(self) -> None:
        """End and remove all containers of this stack, then whatever shims of ours are left."""
        if self.has_containers():
            for namespace in self._namespaces():
                for task in self._list(namespace, "tasks"):
                    self._ctr(namespace, "tasks", "rm", "--force", task)
                for container in self._list(namespace, "containers"):
                    self._ctr(namespace, "containers", "rm", container)
        if self.own:
            for who in self._shims():
                if not wait_gone(who, _SHIM_GRACE_S):  # most end by themselves now
                    end(who, _SHIM_GRACE_S)

    def _shims(self) -> list[ProcessId]:
        return find_processes("containerd-shim", str(self.socket))

    def _namespaces(self) -> list[str]:
        """All of our own containerd's, one of the machine's."""
        return self._ctr(self.namespace, "namespaces", "ls", "--quiet").split() if self.own else [self.namespace]

    def _list(self, namespace: str, what: str) -> list[str]:
        return self._ctr(namespace, what, "ls", "--quiet").split()

    def _ctr(self, namespace: str, *words: str) -> str:
        ctr = [program("ctr", _PACKAGE), "--address", str(self.socket), "--namespace", namespace]
        return run([*ctr, *words]).stdout


def _answers(socket: Path) -> bool:
    command = [program("ctr", _PACKAGE), "--address", str(socket), "--connect-timeout", "1s", "version"]
    if not os.access(socket, os.R_OK | os.W_OK):
        return False  # not there, or not for us
    return run(command).returncode == 0
