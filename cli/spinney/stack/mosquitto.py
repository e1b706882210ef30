"""The MQTT broker of the local stack: loopback only, a password for every user, nothing lost at a restart."""

from __future__ import annotations

import getpass
from collections.abc import Mapping, Sequence
from pathlib import Path

from .daemon import PortDaemon
from .errors import StackError
from .files import write_private
from .folder import StateFolder
from .ports import LOOPBACK
from .tools import program, run

_PACKAGE = "mosquitto"

Acl = Mapping[str, Sequence[str]]
"""User → what it may do, in the words of mosquitto's ACL file: ``readwrite spinney/v1/#``."""


def configuration(port: int, user: str, passwords: Path, acl: Path, data: Path) -> str:
    """The text of mosquitto.conf. Each line that is not mosquitto's default has its reason beside it."""
    lines = [
        f"listener {port} {LOOPBACK}",
        "allow_anonymous false",
        f"password_file {passwords}",
        f"acl_file {acl}",
        f"user {user}",  # or it would drop to a user that cannot write the private state folder
        "set_tcp_nodelay true",  # Nagle costs 44 ms for every hop
        "persistence true",  # sessions and queues outlive a restart
        f"persistence_location {data}/",
        "autosave_interval 5",
        "max_queued_messages 100000",  # the default drops silently after 1000
        "max_inflight_messages 200",
        "max_packet_size 4194304",  # far above ours (256 KiB), far below what would hurt
        "persistent_client_expiration 7d",
        "log_dest stdout",
        "log_type error",
        "log_type warning",
        "log_type notice",
        "connection_messages false",
    ]
    return "\n".join(lines) + "\n"


def acl_text(acl: Acl) -> str:
    """The text of the ACL file."""
    blocks = ["\n".join([f"user {user}", *(f"topic {rule}" for rule in rules)]) for user, rules in acl.items()]
    return "\n\n".join(blocks) + "\n"


class Mosquitto(PortDaemon):
    """mosquitto with the given users; the secret of user U is ``mqtt-U`` in the state folder."""

    name = "mosquitto"
    default_port = 1883

    def __init__(self, folder: StateFolder, acl: Acl) -> None:
        super().__init__(folder)
        self._acl = acl

    def password_file(self, user: str) -> Path:
        """The file with this user's password."""
        return self.folder.secret_file(f"mqtt-{user}")

    def prepare(self) -> None:
        """Write the configuration, the hashed passwords and the ACL."""
        passwords, acl = self.folder.config("mosquitto.passwd"), self.folder.config("mosquitto.acl")
        users = [f"{user}:{self.password_file(user).read_text()}" for user in self._acl]
        write_private(passwords, "\n".join(users) + "\n")
        # -U hashes the file in place: no password on a command line
        hashed = run([program("mosquitto_passwd", _PACKAGE), "-U", str(passwords)])
        if hashed.returncode != 0:
            raise StackError(f"mosquitto_passwd failed: {hashed.stderr.strip()}")
        write_private(acl, acl_text(self._acl))
        data = self.folder.data(self.name)
        write_private(self._config, configuration(self.port, getpass.getuser(), passwords, acl, data))

    def command(self) -> Sequence[str]:
        """mosquitto with our configuration and nothing else."""
        return [program("mosquitto", _PACKAGE), "-c", str(self._config)]

    def write_login(self, user: str, home: Path) -> None:
        """Write the files that mosquitto_pub and mosquitto_sub read their login from when XDG_CONFIG_HOME is `home`."""
        password = self.password_file(user).read_text()
        text = f"-h {LOOPBACK}\n-p {self.port}\n-V 5\n-u {user}\n-P {password}\n"
        for client in ("mosquitto_pub", "mosquitto_sub", "mosquitto_rr"):
            write_private(home / client, text)

    @property
    def _config(self) -> Path:
        return self.folder.config("mosquitto.conf")
