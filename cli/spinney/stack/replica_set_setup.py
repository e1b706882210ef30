"""Makes a fresh mongod a replica set of one with its users; changes nothing on one that is set up.

Run as a process with a `Task` on standard input. A mongod without users lets a client from loopback make the set and
the first user, and nothing else; from then on everybody needs a password.
"""

from __future__ import annotations

import sys
import time
from typing import Any

import msgspec
from pymongo import MongoClient
from pymongo.errors import OperationFailure, PyMongoError

from .ports import LOOPBACK
from .replica_set import NAME, Task, User

_UNAUTHORIZED = 13
_ALREADY_INITIALIZED = 23
_PRIMARY_LIMIT_S = 60


def set_up(task: Task) -> None:
    """Bring the set and the users about. Raises PyMongoError or TimeoutError."""
    with _client(task.port) as anybody:
        _initiate(anybody, task.port)
        if not anybody.admin.command("hello").get("setName"):
            _move(task)
        _wait_primary(anybody)
        _make_admin(anybody, task)
    with _client(task.port, task.admin, task.admin_password) as admin:
        known = {user["user"] for user in admin.admin.command("usersInfo")["users"]}
        for user in task.users:
            if user.name not in known:
                _make_user(admin, user)


def _client(port: int, user: str | None = None, password: str | None = None) -> MongoClient[dict[str, Any]]:
    return MongoClient(
        LOOPBACK,
        port,
        username=user,
        password=password,
        directConnection=True,
        serverMonitoringMode="poll",  # streaming would make every close wait for the stream's end
        timeoutMS=30_000,
    )


def _initiate(client: MongoClient[dict[str, Any]], port: int) -> None:
    members = [{"_id": 0, "host": f"{LOOPBACK}:{port}"}]
    try:
        client.admin.command("replSetInitiate", {"_id": NAME, "members": members})
    except OperationFailure as error:
        if error.code not in {_UNAUTHORIZED, _ALREADY_INITIALIZED}:  # both mean: set up before
            raise


def _move(task: Task) -> None:
    """The set knows its member by another port: tell it the new one."""
    with _client(task.port, task.admin, task.admin_password) as admin:
        config = admin.local["system.replset"].find_one() or {}
        config["members"][0]["host"] = f"{LOOPBACK}:{task.port}"
        config["version"] += 1
        admin.admin.command("replSetReconfig", config, force=True)


def _wait_primary(client: MongoClient[dict[str, Any]]) -> None:
    deadline = time.monotonic() + _PRIMARY_LIMIT_S
    while not client.admin.command("hello")["isWritablePrimary"]:
        if time.monotonic() > deadline:
            raise TimeoutError(f"mongod did not become primary within {_PRIMARY_LIMIT_S} s")
        time.sleep(0.02)


def _make_admin(client: MongoClient[dict[str, Any]], task: Task) -> None:
    try:
        client.admin.command("createUser", task.admin, pwd=task.admin_password, roles=["root"])
    except OperationFailure as error:
        if error.code != _UNAUTHORIZED:  # refused: there are users, so it was made before
            raise


def _make_user(admin: MongoClient[dict[str, Any]], user: User) -> None:
    everything = ["readWriteAnyDatabase", "dbAdminAnyDatabase"]
    roles = everything if user.database is None else [{"role": "readWrite", "db": user.database}]
    admin.admin.command("createUser", user.name, pwd=user.password, roles=roles)


def main() -> int:
    """Read the task, do it; the reason for a failure goes to standard error."""
    task = msgspec.json.decode(sys.stdin.buffer.read(), type=Task)
    try:
        set_up(task)
    except (PyMongoError, TimeoutError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
