"""TCP ports on loopback: is one free, is somebody answering, and is it who we think."""

from __future__ import annotations

import socket
from pathlib import Path

LOOPBACK = "127.0.0.1"
_LOOPBACK_HEX = "0100007F"
_LISTENING = "0A"


def free_port(preferred: int = 0) -> int:
    """The preferred port when nobody has it, else one that the kernel picks."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a port in TIME_WAIT is free
        try:
            probe.bind((LOOPBACK, preferred))
        except OSError:
            probe.bind((LOOPBACK, 0))
        return probe.getsockname()[1]


def answers(port: int) -> bool:
    """Whether somebody accepts connections on this port of loopback."""
    try:
        socket.create_connection((LOOPBACK, port), timeout=1).close()
    except OSError:
        return False
    return True


def listens(pid: int, port: int) -> bool:
    """Whether this very process listens on this port of loopback.

    Somebody else's answer must not be taken for ours: we would set up, and give passwords to, a stranger's server.
    """
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    sockets = {f"socket:[{row[9]}]" for row in rows if row[1] == f"{_LOOPBACK_HEX}:{port:04X}" and row[3] == _LISTENING}
    try:
        return any(str(link.readlink()) in sockets for link in Path(f"/proc/{pid}/fd").iterdir())
    except FileNotFoundError:  # the process, or one of its files, has just gone
        return False
