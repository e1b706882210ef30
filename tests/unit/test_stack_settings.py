"""What the local stack tells each process is what that process's settings know: neither can drift from the other."""

from pathlib import Path

import pytest
from spinney.stack import Stack
from spinney_cluster.config import ClusterSettings
from spinney_node.config import NodeSettings
from spinney_node.drivers.containerd.settings import parse
from spinney_root.config import RootSettings
from spinney_shared.config import load


@pytest.fixture
def stack(tmp_path: Path) -> Stack:
    return Stack(tmp_path / "state")


def test_the_root_understands_its_settings(stack: Stack) -> None:
    settings = load(RootSettings, "SPINNEY_ROOT", None, stack.root.environment())
    assert settings.http.port == stack.root.port
    assert settings.admin.name == stack.admin
    assert settings.admin.password.reveal() == stack.admin_password_file.read_text()
    assert settings.mongo.url.reveal() == stack.mongod.url_for("root")


def test_the_cluster_understands_its_settings(stack: Stack) -> None:
    settings = load(ClusterSettings, "SPINNEY_CLUSTER", None, stack.cluster.environment())
    assert settings.mqtt.password.reveal() == stack.folder.secret("mqtt-cluster")
    assert settings.mongo.url.reveal() == stack.mongod.url_for("cluster")


def test_the_node_and_its_driver_understand_their_settings(stack: Stack) -> None:
    settings = load(NodeSettings, "SPINNEY_NODE", None, stack.node.environment())
    assert settings.state_dir == stack.folder.data("node")
    assert parse(settings.drivers["containerd"]).socket == str(stack.containerd.socket)


def test_no_secret_is_in_an_environment_or_on_a_command_line(stack: Stack) -> None:
    for service in (stack.root, stack.cluster, stack.node):
        told = " ".join([*service.environment().values(), *service.command()])
        secrets = [file.read_text() for file in (stack.folder.path / "secrets").iterdir()]
        assert secrets
        assert not [secret for secret in secrets if secret in told]
