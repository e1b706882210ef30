"""From the root's records to the shapes that clients know."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace
from spinney_root import sla, views
from spinney_root.commands import Deploy, RemoveInstance
from spinney_root.decide import Asked
from spinney_root.state import Application, Instance, Microservice, User
from spinney_shared import lifecycle, topics
from spinney_shared.messages import NodeSummary, Presence
from spinney_shared.model import InstanceKey, NodeInfo
from spinney_shared.receiving import Received

from tests.documents import changed
from tests.rest_root import CRUN, NODE, RUNC, FakeCore


def deployed(core: FakeCore, user: str = "Admin", replicas: int = 1, **fields: Any) -> tuple[Application, Microservice]:
    """The users' document with fields of its microservice changed, as the state has it."""
    raw = json.dumps(changed(replicas=replicas, **fields)).encode()
    parsed = sla.parse(raw, default_replicas=0)
    assert isinstance(parsed, tuple), parsed
    result = core.put(Asked(1, Deploy(applications=parsed, user=user))).replies[0].result
    (application,), (microservice,) = result.applications.values(), result.microservices.values()
    return core.state.applications[application], core.state.microservices[microservice]


def plain(shape: object) -> Any:
    """As a client reads it."""
    return msgspec.json.decode(msgspec.json.encode(shape))


def shown(core: FakeCore, one: Microservice) -> dict[str, Any]:
    return plain(views.service(core.state, core.state.microservices[one.id]))


@pytest.fixture
def core() -> FakeCore:
    return FakeCore()


SERVICE = {
    "microserviceID", "microservice_name", "microservice_namespace", "applicationID", "application_name",
    "application_namespace", "app_name", "app_ns", "job_name", "status", "status_detail", "virtualization", "code",
    "image", "memory", "vcpus", "vgpus", "port", "environment", "RR_ip", "RR_ip_v6", "instance_list",
}  # fmt: skip
INSTANCE = {
    "instance_number", "status", "status_detail", "publicip", "cluster_id", "cluster_location", "worker_id", "host_ip",
    "host_port", "cpu_percent", "memory_percent", "cpu_history", "memory_history", "logs", "disk",
}  # fmt: skip
CLUSTER = {
    "_id", "cluster_name", "candidate_name", "ip", "port", "active", "active_nodes", "cluster_location",
    "total_cpu_cores", "total_gpu_cores", "vcpus", "vgpus", "memory_in_mb", "memory", "cpu_percent", "memory_percent",
    "gpu_percent", "gpu_temp", "vram", "vram_percent", "virtualization", "csi_drivers", "supported_addons",
    "gpu_drivers", "last_modified_timestamp",
}  # fmt: skip


def test_an_application(core: FakeCore) -> None:
    application, microservice = deployed(core, "ann")
    assert plain(views.application(core.state, application)) == {
        "applicationID": application.id,
        "application_name": "clientsrvr",
        "application_namespace": "test",
        "application_desc": "Simple demo with curl client and Nginx server",
        "microservices": [microservice.id],
        "owner": "ann",
    }


def test_applications_of_one_owner_in_the_order_they_were_made(core: FakeCore) -> None:
    for id, owner, at in (("a", "ann", 3.0), ("b", "bob", 2.0), ("c", "ann", 1.0)):
        core.state.put(Application(id, id, "ns", "", owner, at))
    assert [one.applicationID for one in views.applications(core.state, None)] == ["c", "b", "a"]
    assert [one.applicationID for one in views.applications(core.state, "ann")] == ["c", "a"]
    assert views.applications(core.state, "nobody") == []


def test_a_service_shows_what_was_asked_for(core: FakeCore) -> None:
    application, one = deployed(
        core, port="8080:80;53:53/udp", vcpus=1.5, vgpus=1, storage=7, bandwidth_in=8, bandwidth_out=9, cmd=["a", "b"],
        environment=["K=V"], virtualization="unikraft",
    )  # fmt: skip
    found = shown(core, one)
    assert set(found) >= SERVICE
    assert found["job_name"] == "clientsrvr.test.nginx.test"
    assert (found["microserviceID"], found["applicationID"]) == (one.id, application.id)
    assert (found["app_name"], found["app_ns"]) == (found["application_name"], found["application_namespace"])
    assert (found["memory"], found["vcpus"], found["vgpus"], found["storage"]) == (100, 1.5, 1, 7)
    assert (found["bandwidth_in"], found["bandwidth_out"]) == (8, 9)
    assert found["port"] == "8080:80/tcp;53:53/udp"
    assert found["code"] == found["image"] == "docker.io/library/nginx:latest"
    assert (found["cmd"], found["environment"]) == (["a", "b"], ["K=V"])
    assert found["virtualization"] == "unikraft"
    assert (found["RR_ip"], found["RR_ip_v6"]) == ("10.30.55.55", "fdff:2000::55:55")
    assert (found["replicas"], found["generation"]) == (1, 1)


def test_a_service_without_wishes_of_its_own(core: FakeCore) -> None:
    _, one = deployed(core)
    core.state.put(replace(one, document=b""))
    found = shown(core, one)
    assert (found["virtualization"], found["RR_ip"], found["RR_ip_v6"], found["port"]) == ("container", "", "", "")


def test_an_instance_before_anything_is_known_of_it(core: FakeCore) -> None:
    _, one = deployed(core)
    (found,) = shown(core, one)["instance_list"]
    assert set(found) >= INSTANCE
    assert found["status"] == "NoActiveClusterWithCapacity"
    assert found["status_detail"] == "no cluster has joined yet"
    for unknown in ("publicip", "cluster_id", "cluster_location", "worker_id", "host_ip", "runtime", "node_name"):
        assert found[unknown] == ""
    assert (found["cpu_percent"], found["memory_percent"]) == ("0.0", "0.0")
    assert (found["cpu_history"], found["memory_history"], found["exit_code"]) == ([], [], None)


def test_an_instance_that_runs(core: FakeCore) -> None:
    core.join()
    _, one = deployed(core, virtualization="docker", port="8080:80;9090:90")
    core.runs(one.id, restarts=2)
    (found,) = shown(core, one)["instance_list"]
    assert found["status"] == "RUNNING"
    assert (found["cluster_id"], found["cluster_name"]) == ("id-c1", "c1")
    assert found["cluster_location"] == "48.2,11.5,10"
    assert (found["worker_id"], found["node_name"], found["runtime"]) == ("n1", "node-1", "runc")
    assert (found["publicip"], found["host_ip"], found["host_port"]) == ("10.0.0.7", "10.0.0.7", "8080")
    assert (found["address"], found["restarts"], found["started_at"]) == ("10.112.0.2", 2, 1.7e9)


def test_instances_are_shown_by_number_without_those_that_end(core: FakeCore) -> None:
    core.join()
    _, one = deployed(core, virtualization="runc", vcpus=0, memory=0, replicas=12)
    core.put(Asked(1, RemoveInstance(microservice=one.id, number=3)))
    found = shown(core, one)
    assert [i["instance_number"] for i in found["instance_list"]] == [0, 1, 2, *range(4, 12)]
    assert found["replicas"] == 11
    assert found["statuses"] == {"CLUSTER_SCHEDULED": 11}
    assert core.state.instances[InstanceKey(one.id, 3)].removing


def wanted(number: int, status: str, detail: str = "") -> Instance:
    return Instance("m", number, 1, status, detail)


def test_the_status_of_a_service() -> None:
    assert views.status_of([]) == ("REQUESTED", "no instances are wanted")
    assert views.status_of([wanted(0, "RUNNING")]) == ("RUNNING", "")
    assert views.status_of([wanted(0, "FAILED", "exit 1")]) == ("FAILED", "exit 1")
    both = [wanted(0, "RUNNING"), wanted(1, "FAILED"), wanted(2, "FAILED", "exit 1"), wanted(3, "CREATING")]
    assert views.status_of(both) == ("FAILED", "1 RUNNING, 1 CREATING, 2 FAILED: exit 1")
    assert views.status_of([wanted(0, "RUNNING"), wanted(1, "RUNNING")]) == ("RUNNING", "2 RUNNING")


@pytest.mark.parametrize("status", sorted(lifecycle.STEPS))
def test_every_status_has_its_place_and_what_does_not_run_is_worse(status: str) -> None:
    worst, _ = views.status_of([wanted(0, "RUNNING"), wanted(1, status)])
    assert worst == ("RUNNING" if status == "COMPLETED" else status)


@pytest.mark.parametrize("status", sorted(lifecycle.UNSCHEDULABLE))
def test_what_finds_no_place_is_worse_than_what_failed(status: str) -> None:
    assert views.status_of([wanted(0, "FAILED", "x"), wanted(1, status, "no room")])[0] == status


def test_a_cluster_names_only_the_runtimes_that_are_verified(core: FakeCore) -> None:
    (found,) = plain(views.clusters(core.join().state))
    assert set(found) >= CLUSTER
    assert found["virtualization"] == ["container", "runc"]
    assert (found["_id"], found["cluster_name"], found["candidate_name"]) == ("id-c1", "c1", "c1")
    assert (found["ip"], found["active"], found["active_nodes"]) == ("10.0.0.1", True, 1)
    assert found["cluster_location"] == "48.2,11.5,10"
    assert (found["total_cpu_cores"], found["vcpus"], found["total_gpu_cores"], found["vgpus"]) == (8.0, 6.0, 2, 1)
    assert (found["memory_in_mb"], found["memory"]) == (16000, 8000)
    assert (found["cpu_percent"], found["memory_percent"]) == (12.5, 50.0)


def test_a_cluster_that_left_is_shown_but_not_as_active(core: FakeCore) -> None:
    core.join("c2").join("c1")
    will = Presence(id="w", session="00000001-a", online=False)
    core.put(Received(topics.CLUSTER_PRESENCE, {"cluster": "c1"}, will))
    assert [(one.cluster_name, one.active) for one in views.clusters(core.state)] == [("c1", False), ("c2", True)]
    assert [one.cluster_name for one in views.clusters(core.state, only_active=True)] == ["c2"]


def test_a_cluster_without_a_place(core: FakeCore) -> None:
    known = core.join().state.clusters["c1"]
    assert (
        views.cluster(core.state, replace(known, announce=replace(known.announce, location=None))).cluster_location
        == ""
    )


def test_nodes_tell_everything_of_their_runtimes(core: FakeCore) -> None:
    other = NodeSummary("n0", NodeInfo("a-node", runtimes=(RUNC,)), online=False)
    gone = NodeSummary("n2", NodeInfo("gone"), gone=True)
    first, second = views.nodes(core.join(nodes=(NODE, other, gone)).state)
    assert (first.name, first.online) == ("a-node", False)
    assert (second.id, second.cluster, second.host_ip, second.instances) == ("n1", "c1", "10.0.0.7", 1)
    assert second.runtimes == (RUNC, CRUN)
    assert second.labels == {"place": "attic"}
    assert (second.reserved.memory_mib, second.usage.cpu_percent) == (8000, 12.5)


def test_runtimes_are_listed_with_where_they_work_and_why_not(core: FakeCore) -> None:
    other = NodeSummary("n0", NodeInfo("a-node", runtimes=(replace(CRUN, state="verified", reason=""),)), online=False)
    crun, runc = views.runtimes(core.join(nodes=(NODE, other)).state)
    assert (crun.name, runc.name) == ("crun", "runc")
    assert [(on.node, on.online) for on in crun.verified] == [("n0", False)]
    assert [(on.node_name, on.reason, on.hint) for on in crun.failed] == [
        ("node-1", "cgroups in hybrid mode", "unmount it")
    ]
    assert [(on.start_ms, on.default, on.version) for on in runc.verified] == [(88.0, True, "1.1.5")]
    assert runc.failed == ()


def test_rows_of_instances(core: FakeCore) -> None:
    core.join()
    application, one = deployed(core, virtualization="runc", replicas=3)
    core.runs(one.id, 1)
    rows = list(views.instance_rows(core.state, [core.state.microservices[one.id]]))
    assert [row.instance.instance_number for row in rows] == [0, 1, 2]
    assert {(row.microservice, row.application, row.job_name) for row in rows} == {
        (one.id, application.id, "clientsrvr.test.nginx.test")
    }
    running = views.instance_rows(core.state, [core.state.microservices[one.id]], "RUNNING")
    assert [row.instance.instance_number for row in running] == [1]


def test_a_user_is_shown_without_the_password() -> None:
    found = plain(views.user(User("ann", "the hash", ("Admin",), "org")))
    assert found == {"username": "ann", "roles": ["Admin"], "organization_name": "org"}
