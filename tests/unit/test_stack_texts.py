"""What the local stack writes and chooses without asking anybody: texts, names, addresses."""

import ipaddress
import os
from pathlib import Path

import pytest
from spinney.stack import containerd, mosquitto, registry, services
from spinney.stack.embedded import Mongod
from spinney.stack.files import write_private, write_private_once
from spinney.stack.folder import StateFolder
from spinney.stack.process import identify, is_alive


def test_mosquitto_is_on_loopback_refuses_strangers_and_sends_at_once() -> None:
    files = (Path("/s/passwd"), Path("/s/acl"), Path("/s/data"))
    lines = mosquitto.configuration(1883, "root", *files).splitlines()
    assert "listener 1883 127.0.0.1" in lines
    assert "allow_anonymous false" in lines
    assert "set_tcp_nodelay true" in lines
    assert "persistence_location /s/data/" in lines


def test_the_acl_file_names_each_user_before_its_topics() -> None:
    assert (
        mosquitto.acl_text({"a": ["read x", "write y"], "b": []}) == "user a\ntopic read x\ntopic write y\n\nuser b\n"
    )


def test_clients_may_not_forge_what_only_services_say() -> None:
    writes = [rule for rule in services.ACL["client"] if not rule.startswith("read ")]
    assert not [rule for rule in writes if "cluster" in rule or "/out" in rule or rule.endswith("spinney/v1/#")]


def test_containerd_and_registry_keep_everything_in_the_given_folders() -> None:
    assert 'address = "/run/x/c.sock"' in containerd.configuration(Path("/r"), Path("/s"), Path("/run/x/c.sock"))
    assert "addr: 127.0.0.1:5000" in registry.configuration(5000, Path("/data"), "s")


def test_settings_become_environment_variables() -> None:
    assert services.environment("SPINNEY_ROOT", {"mqtt.port": 1, "name": "x"}) == {
        "SPINNEY_ROOT__MQTT__PORT": "1",
        "SPINNEY_ROOT__NAME": "x",
    }


@pytest.mark.parametrize("short_id", ["00000000", "000001ff", "deadbeef", "ffffffff"])
def test_every_stack_gets_a_valid_subnet(short_id: str) -> None:
    network = ipaddress.ip_network(services.subnet(short_id))
    assert network.subnet_of(ipaddress.ip_network("10.112.0.0/13"))


def test_only_the_embedded_mongod_sees_its_old_libraries() -> None:
    assert "LD_LIBRARY_PATH" not in Mongod(Path("/usr/bin/mongod")).environment()
    assert Mongod(Path("/c/mongod"), Path("/c/lib")).environment()["LD_LIBRARY_PATH"] == "/c/lib"


def test_a_secret_is_made_once_and_is_for_its_owner(tmp_path: Path) -> None:
    folder = StateFolder(tmp_path / "state")
    first = folder.secret("x")
    assert len(first) >= 32
    assert folder.secret("x") == first
    assert StateFolder(tmp_path / "state").secret("x") == first
    assert folder.secret_file("x").stat().st_mode & 0o777 == 0o600
    assert folder.path.stat().st_mode & 0o777 == 0o700


def test_the_first_writer_of_a_file_that_is_written_once_wins(tmp_path: Path) -> None:
    write_private_once(tmp_path / "f", "first")
    write_private_once(tmp_path / "f", "second")
    assert (tmp_path / "f").read_text() == "first"
    write_private(tmp_path / "f", "third")
    assert (tmp_path / "f").read_text() == "third"
    assert [path.name for path in tmp_path.iterdir()] == ["f"]


def test_a_process_is_its_pid_and_its_start_time() -> None:
    me = identify(os.getpid())
    assert me is not None
    assert is_alive(me)
    assert identify(2**22 + 1) is None
