"""A second machine joins, one on which crun and gVisor work; and machines that go away."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from spinney.stack.folder import StateFolder
from spinney.stack.services import Node, environment

from tests.documents import SEED
from tests.mended import Mended
from tests.services import need

from .conftest import System


class SecondNode(Node):
    """Another node of the stack's cluster, with a containerd and a state of its own, and little memory."""

    def __init__(self, folder: StateFolder, system: System, containerd: Mended) -> None:
        super().__init__(folder, system.stack.mosquitto, containerd)
        self.containerd = containerd

    def ready(self) -> bool:
        return True  # the tests see by REST when it has joined

    def environment(self) -> dict[str, str]:
        own = {"name": "node-2", "memory_mib": 500}
        return {**super().environment(), **environment("SPINNEY_NODE", own)}


@pytest.fixture(scope="module")
def second(system: System, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecondNode]:
    need("crun", "runsc", "unshare")
    path: Path = tmp_path_factory.mktemp("second")
    containerd = Mended(path)
    containerd.start()
    node = SecondNode(containerd.folder, system, containerd)
    node.start()
    system.wait("node-2 to announce its runtimes", lambda: verified(system, "node-2"))
    yield node
    node.stop()
    node.remove_instances()
    containerd.stop()


def verified(system: System, name: str) -> set[str]:
    nodes = [n for n in system.get("/api/v1/nodes") if n["name"] == name and n["online"]]
    return {r["name"] for n in nodes for r in n["runtimes"] if r["state"] == "verified"}


@pytest.fixture
def undeploy(system: System) -> Any:
    """Ends the applications named in it after the test."""
    names: list[str] = []
    yield names.append
    for name in names:
        system.event("undeploy", {"application": f"{name}.test"})


@pytest.mark.parametrize("runtime", ["crun", "runsc"])
def test_a_runtime_runs_where_it_is_verified(system: System, second: SecondNode, undeploy: Any, runtime: str) -> None:
    """The very document that was refused before the machine came, with an image that is there."""
    assert runtime in verified(system, "node-2")
    document = copy.deepcopy(SEED)
    document["applications"][0]["application_name"] = f"on{runtime}"
    document["applications"][0]["microservices"][0] |= {"virtualization": runtime, "code": system.image}
    undeploy(f"on{runtime}")
    assert system.event("deploy", document)["status"] == "accepted"
    [instance] = system.running(f"on{runtime}.test.nginx.test", 1)
    assert (instance["node_name"], instance["runtime"]) == ("node-2", runtime)
    assert "Spinney" in system.wait("its page", lambda: system.page(instance))


def test_an_instance_moves_when_its_node_is_gone_and_the_old_copy_ends_when_it_returns(
    system: System, second: SecondNode, undeploy: Any
) -> None:
    undeploy("moves")
    job = "moves.test.web.test"
    system.event("deploy", system.sla("moves", virtualization="runc"))
    [before] = system.running(job, 1)
    first_home = before["node_name"] == "node-1"  # which of the two is fuller depends on what just ended there
    if first_home:
        system.kill("node")
    else:
        second.kill()

    def moved() -> Any:
        [now] = system.instances(job)
        return now["status"] == "RUNNING" and now["node_name"] != before["node_name"] and now

    after = system.wait("the instance to run on the other node", moved)
    assert "Spinney" in system.page(after)
    assert "Spinney" in system.page(before)  # the machine lives, only its node process is gone
    if first_home:
        system.start("node")
    else:
        second.start()
    containerd = system.stack.containerd if first_home else second.containerd
    system.wait("the old copy to end", lambda: not containerd.has_containers())
    [still] = system.instances(job)
    assert still["started_at"] == after["started_at"]
