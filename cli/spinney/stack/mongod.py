"""MongoDB of the local stack: one replica set member (transactions need one) on loopback, with authentication."""

from __future__ import annotations

import base64
import secrets
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from . import replica_set
from .daemon import PortDaemon
from .embedded import Mongod as Program
from .embedded import find_mongod
from .errors import StackError
from .files import write_private
from .folder import StateFolder
from .ports import LOOPBACK
from .tools import run

_ADMIN = "admin"
_SETUP_LIMIT_S = 90


class Mongod(PortDaemon):
    """mongod with one user for each database; the secret of user U is ``mongo-U`` in the state folder."""

    name = "mongod"
    default_port = 27017
    grace_s = 20.0

    def __init__(self, folder: StateFolder, users: Mapping[str, str | None]) -> None:
        """`users`: name → the database it may read and write; none = all of them."""
        super().__init__(folder)
        self._users = dict(users)
        self._program: Program | None = None

    def url_for(self, user: str) -> str:
        """The URL for this user; it holds the password, so it goes into a private file and not on a command line."""
        password = self.folder.secret(f"mongo-{user}")
        return f"mongodb://{user}:{password}@{LOOPBACK}:{self.port}/?authSource=admin&directConnection=true"

    def url_file(self, user: str) -> Path:
        """A private file with the URL for this user, for services that read secrets from files."""
        file = self.folder.path / "secrets" / f"mongo-{user}.url"
        write_private(file, self.url_for(user))
        return file

    def prepare(self) -> None:
        """Find (or fetch) the program; make the key by which members of a replica set know each other."""
        self._program = find_mongod()
        if not self._key_file.exists():
            write_private(self._key_file, base64.b64encode(secrets.token_bytes(96)).decode())

    def command(self) -> Sequence[str]:
        """One member, loopback only, a small cache: the stack shares the machine with what it runs."""
        assert self._program is not None, "prepare comes first"
        options = {
            "--bind_ip": LOOPBACK,
            "--port": str(self.port),
            "--dbpath": str(self.folder.data(self.name)),
            "--replSet": replica_set.NAME,
            "--keyFile": str(self._key_file),  # implies authentication
            "--wiredTigerCacheSizeGB": "0.25",
            "--oplogSize": "256",
        }
        pairs = [word for pair in options.items() for word in pair]
        quiet = ["--quiet", "--nounixsocket", "--setParameter", "diagnosticDataCollectionEnabled=false"]
        return [str(self._program.program), *pairs, *quiet]

    def environment(self) -> dict[str, str]:
        """With the embedded program's own libraries, when it is that one."""
        assert self._program is not None, "prepare comes first"
        return self._program.environment()

    def after_ready(self) -> None:
        """Make the replica set and the users where they are missing, and wait until the member is primary."""
        task = replica_set.Task(
            port=self.port,
            admin=_ADMIN,
            admin_password=self.folder.secret(f"mongo-{_ADMIN}"),
            users=[
                replica_set.User(name=user, password=self.folder.secret(f"mongo-{user}"), database=database)
                for user, database in self._users.items()
            ],
        )
        # In a process of its own, told through its standard input: pymongo stays out of the spinney command.
        command = [sys.executable, "-m", "spinney.stack.replica_set_setup"]
        done = run(command, given=msgspec.json.encode(task).decode(), limit_s=_SETUP_LIMIT_S)
        if done.returncode != 0:
            raise StackError(f"MongoDB's replica set could not be set up: {done.stderr.strip()[-1000:]}")

    @property
    def _key_file(self) -> Path:
        return self.folder.path / "secrets" / "mongod.key"
