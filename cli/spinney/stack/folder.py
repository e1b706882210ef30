"""The state folder of one local stack: everything that survives its end, readable by its owner alone.

``data/NAME/`` what a part keeps; ``config/``, ``logs/NAME.log``, ``run/NAME.json`` (pids), ``secrets/NAME`` (0600,
generated on first use), ``client/`` (logins for MQTT clients), ``ports/NAME``.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import secrets
import shutil
from pathlib import Path

from .errors import AlreadyRunning, StackError
from .files import write_private, write_private_once
from .process import Process

_FOLDERS = ("", "data", "config", "logs", "run", "secrets", "ports", "client")


class StateFolder:
    """Paths, secrets and ports of one stack. Creating it makes the folders. Raises StackError when it cannot."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self._lock: int | None = None
        try:
            for sub in (
                self.path,
                *(self.path / name for name in ("data", "config", "logs", "run", "secrets", "ports", "client")),
            ):
                sub.mkdir(mode=0o700, parents=True, exist_ok=True)
                sub.chmod(0o700)
        except OSError as error:
            raise StackError(f"the state folder {self.path} cannot be made: {error.strerror}") from error

    def data(self, name: str) -> Path:
        """The folder of one part's own data."""
        folder = self.path / "data" / name
        folder.mkdir(mode=0o700, exist_ok=True)
        return folder

    @property
    def client(self) -> Path:
        """What clients need to reach this stack, to be given to them as XDG_CONFIG_HOME."""
        return self.path / "client"

    def config(self, name: str) -> Path:
        """Where a generated configuration file belongs."""
        return self.path / "config" / name

    def process(self, name: str) -> Process:
        """The process of this name, running or not."""
        return Process(name, self.path / "logs" / f"{name}.log", self.path / "run" / f"{name}.json")

    def secret_file(self, name: str) -> Path:
        """The file with the secret of this name; made with a random one on first use."""
        file = self.path / "secrets" / name
        if not file.exists():
            write_private_once(file, secrets.token_urlsafe(24))
        return file

    def secret(self, name: str) -> str:
        """The secret of this name."""
        return self.secret_file(name).read_text()

    def remembered_port(self, name: str) -> int | None:
        """The port this part had last time."""
        try:
            return int((self.path / "ports" / name).read_text())
        except (FileNotFoundError, ValueError):
            return None

    def remember_port(self, name: str, port: int) -> None:
        """Keep the part's port for the next start and for other terminals."""
        write_private(self.path / "ports" / name, str(port))

    @property
    def short_id(self) -> str:
        """Eight characters that tell this folder from any other: for names outside of it."""
        return hashlib.sha256(str(self.path).encode()).hexdigest()[:8]

    @property
    def runtime_folder(self) -> Path:
        """A folder for sockets and mounts, short enough for a socket's path and gone after a reboot."""
        return Path("/run") / f"spinney-{self.short_id}"

    def remove_runtime_folder(self) -> None:
        """Take it away, unless something is still mounted in it: then what is mounted there is not ours to delete."""
        if str(self.runtime_folder) not in Path("/proc/self/mounts").read_text():
            shutil.rmtree(self.runtime_folder, ignore_errors=True)

    def lock(self) -> None:
        """Be the only stack in this folder until this process ends or unlocks. Raises AlreadyRunning."""
        handle = os.open(self.path / "run" / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(handle)
            raise AlreadyRunning(self.path) from error
        self._lock = handle

    def unlock(self) -> None:
        """Let others use the folder."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None
