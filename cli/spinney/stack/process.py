"""Processes we started: known by pid *and* start time, so that a reused pid is never mistaken for one of ours.

Everything here blocks for a bounded time; the asynchronous `Stack` calls it in threads, tests call it as it is.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec
from msgspec import Struct

from .errors import DiedEarly, NotReady
from .files import write_private

TAIL_LINES = 15
_POLL_S = 0.02


class ProcessId(Struct, frozen=True):
    """One process for ever: ``started`` is in clock ticks since the machine's boot."""

    pid: int
    started: int


def identify(pid: int) -> ProcessId | None:
    """Who has this pid now; None when nobody lives there (a zombie does not live)."""
    state, started = _stat(pid)
    return None if state in "ZX" else ProcessId(pid, started)


def _stat(pid: int) -> tuple[str, int]:
    """State letter and start time; X, as the kernel says dead, when there is no such process."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return "X", 0
    fields = text.rpartition(")")[2].split()  # the name before the bracket may hold anything
    return fields[0], int(fields[19])


def is_alive(who: ProcessId) -> bool:
    """Whether this very process still runs."""
    return identify(who.pid) == who


def find_processes(program: str, word: str) -> list[ProcessId]:
    """The processes whose program's file name starts with `program` and that were given `word` as an argument."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = file.read_bytes().decode(errors="replace").split("\0")
        except (FileNotFoundError, ProcessLookupError):
            continue
        who = identify(int(file.parent.name))
        if who is not None and Path(words[0]).name.startswith(program) and word in words[1:]:
            found.append(who)
    return found


def send_signal(who: ProcessId, number: int) -> None:
    """Send the signal to this very process; nothing happens when it is gone."""
    try:
        handle = os.pidfd_open(who.pid)
    except ProcessLookupError:
        return
    try:
        if is_alive(who):  # checked after the handle was taken, so the pid cannot change hands in between
            signal.pidfd_send_signal(handle, number)
    except ProcessLookupError:
        return
    finally:
        os.close(handle)


def wait_gone(who: ProcessId, limit_s: float) -> bool:
    """Wait until the process has ended; False when it still runs after the limit."""
    try:
        handle = os.pidfd_open(who.pid)
    except ProcessLookupError:
        return True
    try:
        poller = select.poll()
        poller.register(handle, select.POLLIN)
        # Even a zombie is waited for: its last threads may still hold its files, locks and ports.
        return _stat(who.pid)[1] != who.started or bool(poller.poll(limit_s * 1000))
    finally:
        os.close(handle)


def end(who: ProcessId, grace_s: float) -> None:
    """SIGTERM, up to the grace, then SIGKILL; returns when the process is gone."""
    send_signal(who, signal.SIGTERM)
    if not wait_gone(who, grace_s):
        send_signal(who, signal.SIGKILL)
        wait_gone(who, grace_s)


def tail(log: Path, lines: int = TAIL_LINES) -> str:
    """The last lines of a log file, indented; a note when there are none."""
    text = log.read_text(errors="replace").splitlines()[-lines:] if log.exists() else []
    return "\n".join(f"    {line}" for line in text) or "    (nothing)"


class Process:
    """One program with its log file and its pid record, both in the state folder."""

    def __init__(self, name: str, log: Path, record: Path) -> None:
        self.name, self.log, self.record = name, log, record
        self._child: subprocess.Popen[bytes] | None = None

    def launch(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        """Start the program in a session of its own (a Ctrl-C in the terminal is for us alone). Raises OSError."""
        if self.log.exists():
            self.log.replace(self.log.with_suffix(".log.old"))
        with self.log.open("wb") as out:
            self._child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                env=dict(environment),
                start_new_session=True,
            )
        who = identify(self._child.pid)
        if who is not None:
            write_private(self.record, msgspec.json.encode(who).decode())

    @property
    def who(self) -> ProcessId | None:
        """The running process, started by us or by another terminal; None when it does not run."""
        if self._child is not None:
            self._child.poll()  # reaps it when it has ended
        try:
            who = msgspec.json.decode(self.record.read_bytes(), type=ProcessId)
        except (FileNotFoundError, msgspec.DecodeError):
            return None
        return who if is_alive(who) else None

    def last_words(self) -> str:
        """The end of its log."""
        return tail(self.log)

    def wait_ready(self, ready: Callable[[], bool], limit_s: float) -> None:
        """Wait until `ready` says so. Raises DiedEarly or NotReady, with the last lines of the log."""
        deadline = time.monotonic() + limit_s
        while True:
            code = self._child.poll() if self._child is not None else None
            if code is not None:
                raise DiedEarly(self.name, code, self.log, self.last_words())
            if ready():
                return
            if time.monotonic() > deadline:
                raise NotReady(self.name, limit_s, self.log, self.last_words())
            time.sleep(_POLL_S)

    def kill(self, number: int) -> None:
        """Send a signal, and wait for the end when it is SIGKILL."""
        who = self.who
        if who is not None:
            send_signal(who, number)
            if number == signal.SIGKILL:
                wait_gone(who, limit_s=10)

    def stop(self, grace_s: float) -> None:
        """End the process: SIGTERM, up to the grace, then SIGKILL. Fine when it does not run."""
        who = self.who
        if who is not None:
            end(who, grace_s)
        if self._child is not None:
            self._child.wait()
            self._child = None
        self.record.unlink(missing_ok=True)
