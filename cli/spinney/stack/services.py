"""Spinney's own three processes, and what each is told: the one place that knows the names of their settings.

A setting ``mqtt.host`` of the root goes to it as the environment variable ``SPINNEY_ROOT__MQTT__HOST``. Secrets go as
the path of a private file, in a variable that ends in ``_FILE``.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from .containerd import Containerd
from .daemon import Daemon, PortDaemon
from .folder import StateFolder
from .mongod import Mongod
from .mosquitto import Acl, Mosquitto
from .ports import LOOPBACK
from .tools import program, run

CLUSTER_NAME = "local"
NODE_NAME = "node-1"
WATCHER = "watcher"
ADMIN = "Admin"
FIRST_LOGIN = "admin-password"

ACL: Acl = {
    "root": ["readwrite spinney/v1/#", "write #"],  # whoever asks names the topic of the answer
    "cluster": [f"readwrite spinney/v1/cluster/{CLUSTER_NAME}/#"],
    "node": [f"readwrite spinney/v1/cluster/{CLUSTER_NAME}/node/#"],
    "client": [
        "write spinney/v1/events/deploy",
        "write spinney/v1/events/undeploy",
        "write spinney/v1/events/scale",
        "read spinney/v1/events/#",
        "readwrite client/#",
    ],
    WATCHER: ["read spinney/v1/cluster/#"],
}
"""Who may say what on the broker."""

DATABASES = {"root": "spinney_root", "cluster": "spinney_cluster"}
"""MongoDB user → the database that is its own."""

_PURGE_LIMIT_S = 60

Settings = Mapping[str, str | int]


def environment(prefix: str, settings: Settings) -> dict[str, str]:
    """The settings as environment variables: ``mqtt.host`` → ``PREFIX__MQTT__HOST``."""
    return {f"{prefix}__{name.upper().replace('.', '__')}": str(value) for name, value in settings.items()}


def mqtt_settings(broker: Mosquitto, user: str) -> Settings:
    """How this user reaches the broker."""
    return {
        "mqtt.host": LOOPBACK,
        "mqtt.port": broker.port,
        "mqtt.username": user,
        "mqtt.password_file": str(broker.password_file(user)),
    }


def mongo_settings(database: Mongod, user: str) -> Settings:
    """How this user reaches its database."""
    return {"mongo.url_file": str(database.url_file(user)), "mongo.database": DATABASES[user]}


def watcher_login(folder: StateFolder) -> Path:
    """XDG_CONFIG_HOME of the MQTT client by which the stack sees who is present."""
    return folder.data("watcher")


class Root(PortDaemon):
    """spinney-root, with its REST API on `port`."""

    name = "root"
    default_port = 10000

    def __init__(self, folder: StateFolder, broker: Mosquitto, database: Mongod) -> None:
        super().__init__(folder)
        self._broker, self._database = broker, database

    def command(self) -> Sequence[str]:
        """The root's entry point."""
        return [sys.executable, "-m", "spinney_root"]

    def environment(self) -> dict[str, str]:
        """Broker, database, API."""
        settings = {
            **mqtt_settings(self._broker, self.name),
            **mongo_settings(self._database, self.name),
            "http.host": LOOPBACK,
            "http.port": self.port,
            "admin.password_file": str(self.folder.secret_file(FIRST_LOGIN)),
        }
        return {**super().environment(), **environment("SPINNEY_ROOT", settings)}


class Member(Daemon):
    """A process that shows by its presence on the broker that it serves."""

    presence: str
    """The topic, or filter, of its presence."""

    def __init__(self, folder: StateFolder, broker: Mosquitto) -> None:
        super().__init__(folder)
        self._broker = broker

    def ready(self) -> bool:
        """Whether it told the broker that it is there."""
        command = [program("mosquitto_sub", "mosquitto-clients"), "-t", self.presence, "-C", "1", "-W", "1"]
        told = {**super().environment(), "XDG_CONFIG_HOME": str(watcher_login(self.folder))}
        seen = run(command, environment=told)
        return '"online":true' in seen.stdout


class Cluster(Member):
    """spinney-cluster."""

    name = "cluster"
    presence = f"spinney/v1/cluster/{CLUSTER_NAME}/presence"

    def __init__(self, folder: StateFolder, broker: Mosquitto, database: Mongod) -> None:
        super().__init__(folder, broker)
        self._database = database

    def command(self) -> Sequence[str]:
        """The cluster's entry point."""
        return [sys.executable, "-m", "spinney_cluster"]

    def environment(self) -> dict[str, str]:
        """Broker (one for both links), database, name."""
        settings = {
            **mqtt_settings(self._broker, self.name),
            **mongo_settings(self._database, self.name),
            "name": CLUSTER_NAME,
        }
        return {**super().environment(), **environment("SPINNEY_CLUSTER", settings)}


class Node(Member):
    """spinney-node on this machine's containers."""

    name = "node"
    presence = f"spinney/v1/cluster/{CLUSTER_NAME}/node/+/presence"

    def __init__(self, folder: StateFolder, broker: Mosquitto, containerd: Containerd) -> None:
        super().__init__(folder, broker)
        self._containerd = containerd

    def command(self) -> Sequence[str]:
        """The node's entry point."""
        return [sys.executable, "-m", "spinney_node"]

    def environment(self) -> dict[str, str]:
        """Broker, cluster, name, and the containerd driver's settings."""
        settings = {
            **mqtt_settings(self._broker, self.name),
            "cluster": CLUSTER_NAME,
            "name": NODE_NAME,
            "state_dir": str(self.folder.data(self.name)),
            **{f"drivers.containerd.{name}": value for name, value in driver_settings(self._containerd).items()},
        }
        return {**super().environment(), **environment("SPINNEY_NODE", settings)}

    def remove_instances(self) -> None:
        """End all instances of this node, while neither it nor anybody else looks after them; fine without any.

        The drivers do it, so addresses and published ports are given back. What they leave is Containerd's to remove.
        """
        if self._containerd.has_containers():
            command = [sys.executable, "-m", "spinney_node.purge"]
            done = run(command, environment=self.environment(), limit_s=_PURGE_LIMIT_S)
            with self.process.log.open("a") as log:
                log.write(done.stderr)
        remove_network(bridge(self.folder))


def bridge(folder: StateFolder) -> str:
    """The network interface of this stack's containers."""
    return f"spn-{folder.short_id}"


def remove_network(bridge: str) -> None:
    """Take away the containers' bridge and its address translation, when they are there."""
    if (Path("/sys/class/net") / bridge).exists():
        run([program("ip", "iproute2"), "link", "delete", bridge])
        run([program("nft", "nftables"), "delete", "table", "ip", f"spinney_{bridge}".replace("-", "_")])


def driver_settings(containerd: Containerd) -> Settings:
    """What the containerd driver is told; names outside the state folder are this stack's alone."""
    folder = containerd.folder
    return {
        "socket": str(containerd.socket),
        "config_path": str(containerd.config_file),
        "namespace": containerd.namespace,
        "state_dir": str(folder.data("instances")),
        "run_dir": str(folder.runtime_folder / "instances"),
        "bridge": bridge(folder),
        "subnet": subnet(folder.short_id),
    }


def subnet(short_id: str) -> str:
    """A /22 of 10.112.0.0/13 for this stack's containers: likely another one than that of any other stack here."""
    number = int(short_id, 16) % 512
    return f"10.{112 + number // 64}.{number % 64 * 4}.0/22"
