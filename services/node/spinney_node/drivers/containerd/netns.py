"""A network namespace that exists before its container does, so that its network can be set up meanwhile.

It is held by a file descriptor of ours until the container's first process holds it; then it lives exactly as long as
the container. So nothing is mounted, nothing is left behind when we die, and containerd may live in another mount
namespace (it has to see our process in /proc).
"""

from __future__ import annotations

import asyncio
import ctypes
import fcntl
import os
import socket
import struct
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from .. import DriverError

_CLONE_NEWNET: Final = 0x40000000  # <linux/sched.h>
_SIOCGIFFLAGS: Final = 0x8913  # <linux/sockios.h>
_SIOCSIFFLAGS: Final = 0x8914
_IFF_UP: Final = 1
_IFREQ: Final = struct.Struct("16sH22x")

_libc = ctypes.CDLL(None, use_errno=True)


@asynccontextmanager
async def fresh_netns() -> AsyncIterator[str]:
    """A new network namespace with its loopback up: a path that is good while this context is open."""
    fd = await asyncio.to_thread(_make)
    try:
        yield f"/proc/{os.getpid()}/fd/{fd}"
    finally:
        os.close(fd)


def _make() -> int:
    """Descriptor of the new namespace. Entered by a thread of its own, which ends there: no other code runs inside."""
    made: list[int | OSError] = []

    def enter() -> None:
        try:
            if _libc.unshare(_CLONE_NEWNET) != 0:
                errno = ctypes.get_errno()
                raise OSError(errno, os.strerror(errno))
            _loopback_up()
            made.append(os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC))
        except OSError as e:
            made.append(e)

    thread = threading.Thread(target=enter, name="netns")
    thread.start()
    thread.join()
    if isinstance(made[0], OSError):
        raise DriverError(f"no network namespace could be made: {made[0]}") from made[0]
    return made[0]


def _loopback_up() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        name, flags = _IFREQ.unpack(fcntl.ioctl(s, _SIOCGIFFLAGS, _IFREQ.pack(b"lo", 0)))
        fcntl.ioctl(s, _SIOCSIFFLAGS, _IFREQ.pack(name, flags | _IFF_UP))
