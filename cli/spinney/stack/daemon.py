"""What all parts of the local stack have in common: prepare the files, start the process, wait until it serves."""

from __future__ import annotations

import signal
from abc import ABC, abstractmethod
from collections.abc import Sequence

from .errors import DiedEarly, StackError
from .folder import StateFolder
from .ports import answers, free_port, listens
from .settings import inherited_environment

_PORT_ATTEMPTS = 3


class Daemon(ABC):
    """One process of the stack. All methods block for a bounded time."""

    name: str
    grace_s: float = 10.0
    """How long it may take to end in order."""
    start_limit_s: float = 60.0
    """How long it may take to serve; far more than any start seen, so only a hang meets it."""

    def __init__(self, folder: StateFolder) -> None:
        self.folder = folder
        self.process = folder.process(self.name)

    @abstractmethod
    def command(self) -> Sequence[str]:
        """The argument list; never holds a secret."""

    @abstractmethod
    def ready(self) -> bool:
        """Whether it serves by now."""

    def environment(self) -> dict[str, str]:
        """The environment of the process; holds no secret."""
        return inherited_environment()

    def prepare(self) -> None:
        """Write the configuration and whatever else must be there before the start. Raises StackError."""
        return

    def after_ready(self) -> None:
        """What is to be done once it serves; nothing for most. Raises StackError."""
        return

    @property
    def running(self) -> bool:
        """Whether its process lives."""
        return self.process.who is not None

    def start(self) -> None:
        """Start it and wait until it serves; fine when it already runs. Raises StackError."""
        if self.running:
            return
        self.prepare()
        try:
            self.process.launch(self.command(), self.environment())
        except OSError as error:
            raise StackError(f"{self.name} cannot be started: {error}") from error
        self.process.wait_ready(self.ready, self.start_limit_s)
        self.after_ready()

    def stop(self) -> None:
        """End it in order, by force after the grace; fine when it does not run."""
        self.process.stop(self.grace_s)

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Send it a signal, as a crash would; returns after its end when that is SIGKILL."""
        self.process.kill(number)

    def restart(self) -> None:
        """End it in order and start it again: same port, same data."""
        self.stop()
        self.start()


class PortDaemon(Daemon):
    """A daemon that serves on one TCP port of loopback: the one of last time, its usual one, or any free one."""

    default_port: int = 0

    def __init__(self, folder: StateFolder) -> None:
        super().__init__(folder)
        self.port = folder.remembered_port(self.name) or self.default_port

    def start(self) -> None:
        """Choose a port and start on it; on another one when somebody was faster. Raises StackError."""
        for _ in range(_PORT_ATTEMPTS - 1):
            try:
                self._start_on_a_port()
            except DiedEarly:
                if not answers(self.port):
                    raise
            else:
                return
        self._start_on_a_port()

    def ready(self) -> bool:
        """Whether it accepts connections."""
        who = self.process.who
        return who is not None and listens(who.pid, self.port)

    def _start_on_a_port(self) -> None:
        if not self.running:
            self.port = free_port(self.port)
            self.folder.remember_port(self.name, self.port)
        super().start()
