"""What the replica set's set-up is told: by the stack, to the process that does it."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

NAME: Final = "spinney"


class User(Struct, frozen=True):
    """A user who may read and write one database; none = all of them, dropping them included."""

    name: str
    password: str
    database: str | None


class Task(Struct, frozen=True):
    """One mongod on loopback that is to become the only member of its replica set, with these users."""

    port: int
    admin: str
    admin_password: str
    users: list[User]
