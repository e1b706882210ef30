"""Real parts for tests: a mosquitto and a mongod of their own, on free ports, in a temporary folder.

Both are the very classes the local stack uses, so `start`, `stop`, `restart` and `kill` behave as in `make up`. All
methods block; from a coroutine call them with ``await anyio.to_thread.run_sync(mosquitto.restart)``.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from spinney.stack.containerd import Containerd
from spinney.stack.folder import StateFolder
from spinney.stack.mongod import Mongod
from spinney.stack.mosquitto import Mosquitto as StackMosquitto
from spinney.stack.settings import in_ci, inherited_environment

USER = "tests"


class Mosquitto(StackMosquitto):
    """A broker with one user that may do everything: `USER`, with the password in `password`."""

    host = "127.0.0.1"
    user = USER
    default_port = 0

    def __init__(self, folder: Path) -> None:
        super().__init__(StateFolder(folder), {USER: ["readwrite #", "read $SYS/#"]})

    @property
    def password(self) -> str:
        return self.password_file(USER).read_text()

    @property
    def url(self) -> str:
        return f"mqtt://{self.user}:{self.password}@{self.host}:{self.port}"


class Mongo(Mongod):
    """A replica set of one with one user who may use every database: ``AsyncIOMotorClient(mongo.url)``."""

    default_port = 0

    def __init__(self, folder: Path) -> None:
        super().__init__(StateFolder(folder), {USER: None})

    @property
    def url(self) -> str:
        return self.url_for(USER)


class OwnContainerd(Containerd):
    """A containerd of the test's own, also where the machine runs one; its sockets are under /run/spinney-…"""

    def __init__(self, folder: Path) -> None:
        super().__init__(StateFolder(folder), system_socket=folder / "no-such-socket")

    def stop(self) -> None:
        self.remove_containers()
        super().stop()
        self.folder.remove_runtime_folder()


def missing(*programs: str) -> str:
    """Which of the programs are not installed, in words; empty when all are there."""
    path = inherited_environment()["PATH"]
    absent = [name for name in programs if shutil.which(name, path=path) is None]
    return f"not installed: {', '.join(absent)} (`make setup` installs what is missing)" if absent else ""


def need(*programs: str) -> None:
    """Skip the test where a program is missing; in CI, which installs them all, fail instead."""
    why = missing(*programs)
    if why and in_ci():
        pytest.fail(why)
    if why:
        pytest.skip(why)
