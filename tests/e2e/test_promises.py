"""What users were promised, on the real processes: broker, MongoDB, containerd, root, cluster, node."""

from __future__ import annotations

import json
import re
import time
from typing import Any

import pytest

from tests.documents import SEED

from .conftest import System


@pytest.fixture
def undeploy(system: System) -> Any:
    """Ends the applications named in it after the test."""
    names: list[str] = []
    yield names.append
    for name in names:
        system.event("undeploy", {"application": f"{name}.test"})
        system.wait(f"{name} to be gone", lambda name=name: not [j for j in jobs(system) if j.startswith(f"{name}.")])


def jobs(system: System) -> list[str]:
    return [service["job_name"] for service in system.get("/api/services")]


def test_a_runtime_that_no_node_has_verified_is_refused_in_words(system: System, undeploy: Any) -> None:
    undeploy("clientsrvr")
    verified = {
        r["name"] for n in system.get("/api/v1/nodes") if n["online"] for r in n["runtimes"] if r["state"] == "verified"
    }
    assert "runsc" not in verified, "this machine runs gVisor: the test wants a runtime that it does not run"
    answer = system.event("deploy", SEED)
    assert answer["status"] == "accepted"
    words = answer["details"]["clientsrvr.test.nginx.test"]
    assert "runsc" in words and "runc" in words
    [service] = [s for s in system.get("/api/services") if s["job_name"] == "clientsrvr.test.nginx.test"]
    assert service["status"] == "NO_QUALIFIED_WORKER_FOUND"
    assert service["status_detail"] == words
    time.sleep(1)
    assert system.instances("clientsrvr.test.nginx.test")[0]["status"] == "NO_QUALIFIED_WORKER_FOUND"


def test_the_same_document_is_accepted_by_rest(system: System, undeploy: Any) -> None:
    undeploy("clientsrvr")
    answer = system.http.post("/api/application", json=SEED)
    assert answer.status_code == 200, answer.text
    [application] = [a for a in answer.json() if a["application_name"] == "clientsrvr"]
    service = application["microservices"][0]
    assert system.get(f"/api/service/{service}")["instance_list"] == []  # clients then ask for instances
    assert system.http.post(f"/api/service/{service}/instance").status_code == 200
    assert "runsc" in system.get(f"/api/service/{service}")["status_detail"]


@pytest.mark.parametrize("virtualization", ["container", "docker", "runc"])
def test_other_words_for_the_runtime_run(system: System, undeploy: Any, virtualization: str) -> None:
    name = f"as{virtualization}"
    undeploy(name)
    assert system.event("deploy", system.sla(name, virtualization=virtualization))["status"] == "accepted"
    [instance] = system.running(f"{name}.test.web.test", 1)
    assert instance["runtime"] == "runc"
    assert "Spinney" in system.page(instance)


def test_scale_up_and_down_by_event(system: System, undeploy: Any) -> None:
    undeploy("scaled")
    system.event("deploy", system.sla("scaled"))
    job = "scaled.test.web.test"
    first = system.running(job, 1)
    assert system.event("scale", {"microservice": job, "replicas": 3})["status"] == "accepted"
    three = system.running(job, 3)
    assert three[0]["started_at"] == first[0]["started_at"]
    assert len({i["address"] for i in three}) == 3
    system.event("scale", {"microservice": job, "replicas": 1})
    assert system.running(job, 1)[0]["instance_number"] == 0


def test_an_event_id_counts_once(system: System, undeploy: Any) -> None:
    undeploy("once")
    event = {"specversion": "1.0", "id": "once-1", "source": "/tests", "type": "deploy", "data": system.sla("once")}
    first, second = system.event("deploy", event), system.event("deploy", event)
    assert first == second
    assert first["event"] == "once-1"
    assert jobs(system).count("once.test.web.test") == 1


def test_a_container_killed_behind_spinneys_back_comes_back(system: System, undeploy: Any) -> None:
    undeploy("killed")
    system.event("deploy", system.sla("killed"))
    [before] = system.running("killed.test.web.test", 1)
    for task in re.findall(r"^(\S+)\s+\d+\s+RUNNING", system.ctr("tasks", "list"), re.M):
        system.ctr("tasks", "kill", "--signal", "SIGKILL", task)

    def again() -> Any:
        [now] = system.instances("killed.test.web.test")
        return now["status"] == "RUNNING" and now["started_at"] > before["started_at"]

    system.wait("the instance to run again", again)
    assert system.instances("killed.test.web.test")[0]["restarts"] == 1


def test_a_killed_node_process_finds_its_containers_again(system: System, undeploy: Any) -> None:
    undeploy("adopted")
    system.event("deploy", system.sla("adopted", replicas=2))
    before = system.running("adopted.test.web.test", 2)
    system.kill("node")
    assert "Spinney" in system.page(before[0])  # nobody is there, and it runs
    system.start("node")
    time.sleep(1)
    after = system.running("adopted.test.web.test", 2)
    assert [(i["started_at"], i["address"], i["restarts"]) for i in after] == [
        (i["started_at"], i["address"], i["restarts"]) for i in before
    ]


def test_what_a_node_missed_is_made_good(system: System, undeploy: Any) -> None:
    undeploy("missed")
    system.event("deploy", system.sla("missed", replicas=3))
    system.running("missed.test.web.test", 3)
    system.kill("node")
    system.event("scale", {"microservice": "missed.test.web.test", "replicas": 1})
    system.start("node")
    system.running("missed.test.web.test", 1)


@pytest.mark.parametrize("name", ["root", "cluster"])
def test_killing_root_or_cluster_touches_no_instance(system: System, undeploy: Any, name: str) -> None:
    undeploy(f"without{name}")
    job = f"without{name}.test.web.test"
    system.event("deploy", system.sla(f"without{name}", replicas=2))
    before = system.running(job, 2)
    system.kill(name)
    assert "Spinney" in system.page(before[0])
    system.start(name)
    after = system.running(job, 2)
    assert [i["started_at"] for i in after] == [i["started_at"] for i in before]
    system.event("scale", {"microservice": job, "replicas": 3})
    system.running(job, 3)


@pytest.mark.parametrize("name", ["mosquitto", "mongod"])
def test_restarting_broker_or_database_touches_no_instance(system: System, undeploy: Any, name: str) -> None:
    undeploy(f"without{name}")
    job = f"without{name}.test.web.test"
    system.event("deploy", system.sla(f"without{name}", replicas=2))
    before = system.running(job, 2)
    system.restart(name)
    after = system.running(job, 2)
    assert [i["started_at"] for i in after] == [i["started_at"] for i in before]

    def scaled() -> Any:
        answer = system.http.put(f"/api/v1/services/{service}/replicas", json={"replicas": 3})
        return answer.status_code == 200

    [service] = [s["microserviceID"] for s in system.get("/api/services") if s["job_name"] == job]
    system.wait("scaling to work again", scaled)
    system.running(job, 3)


def test_an_event_published_while_no_root_runs_is_answered_later(system: System, undeploy: Any) -> None:
    undeploy("patient")
    system.kill("root")
    raw = json.dumps(system.sla("patient")).encode()
    system.mqtt.publish("spinney/v1/events/deploy", raw)
    system.start("root")
    system.running("patient.test.web.test", 1)


def test_nonsense_on_any_topic_is_dropped_and_said_once(system: System, undeploy: Any) -> None:
    answer = system.event("deploy", b"\xff\xfe not JSON")
    assert answer["status"] == "rejected" and answer["errors"][0]["path"] == "$"
    system.mqtt.publish("spinney/v1/events/deploy", b"")
    undeploy("afterwards")
    system.event("deploy", system.sla("afterwards"))
    system.running("afterwards.test.web.test", 1)


def test_lifecycle_events_go_out_on_the_broker_and_by_rest(system: System, undeploy: Any) -> None:
    undeploy("told")
    with system.http.stream("GET", "/api/v1/events", timeout=30) as stream:
        system.event("deploy", system.sla("told"))
        seen = []
        for line in stream.iter_lines():
            if line.startswith("data: {"):  # comments keep the connection alive and have no data
                event = json.loads(line.removeprefix("data:"))
                if event["data"].get("job_name") == "told.test.web.test":
                    seen.append(event["data"]["status"])
                    assert event["specversion"] == "1.0" and event["type"] == "spinney.instance.status"
            if seen and seen[-1] == "RUNNING":
                break
    assert seen[0] == "CLUSTER_SCHEDULED" or "SCHEDULED" in seen[0]


def test_logs_come_through_the_tiers(system: System, undeploy: Any) -> None:
    undeploy("talks")
    words = ["sh", "-c", "echo out; echo err >&2; exec sleep 1000"]
    answer = system.event("deploy", system.sla("talks", cmd=words))
    system.running("talks.test.web.test", 1)
    service = answer["microservices"]["talks.test.web.test"]

    def logs() -> str:
        return system.http.get(f"/api/v1/instances/{service}/0/logs").text

    assert "err" in system.wait("the log", lambda: (text := logs()) and "out" in text and text)


def broken_documents(system: System) -> dict[str, tuple[bytes, str]]:
    """What is wrong → (the document, the JSON path its error names)."""
    good = system.sla("broken")

    def with_field(name: str, value: Any) -> bytes:
        document = json.loads(json.dumps(good))
        document["applications"][0]["microservices"][0][name] = value
        return json.dumps(document).encode()

    def without(name: str) -> bytes:
        document = json.loads(json.dumps(good))
        del document["applications"][0]["microservices"][0][name]
        return json.dumps(document).encode()

    many = json.loads(json.dumps(good))
    one = many["applications"][0]["microservices"][0]
    many["applications"][0]["microservices"] = [{**one, "microservice_name": f"m{n}"} for n in range(1000)]
    below = "$.applications[0].microservices[0]"
    return {
        "not JSON": (b"{", "$"),
        "wrong type": (with_field("memory", "much"), f"{below}.memory"),
        "missing field": (without("microservice_name"), f"{below}"),
        "unknown field": (with_field("bandwith_out", 1), f"{below}.bandwith_out"),
        "bad name": (with_field("microservice_name", "no spaces please"), f"{below}.microservice_name"),
        "unknown constraint": (with_field("constraints", [{"type": "moon"}]), f"{below}.constraints[0]"),
        "too large": (with_field("environment", ["A=" + "x" * 1_000_000]), "$"),
        "1,000 microservices": (json.dumps(many).encode(), "$"),
    }


BROKEN = (
    "not JSON",
    "wrong type",
    "missing field",
    "unknown field",
    "bad name",
    "unknown constraint",
    "too large",
    "1,000 microservices",
)


@pytest.mark.parametrize("wrong", BROKEN)
def test_a_broken_document_is_answered_with_its_path_and_changes_nothing(system: System, wrong: str) -> None:
    raw, path = broken_documents(system)[wrong]
    before = jobs(system)
    answer = system.event("deploy", raw)
    assert answer["status"] == "rejected"
    assert any(error["path"].startswith(path) and error["message"] for error in answer["errors"]), answer["errors"][:3]
    by_rest = system.http.post("/api/v1/deploy", content=raw, headers={"content-type": "application/json"})
    assert 400 <= by_rest.status_code < 500
    assert any(error["path"].startswith(path) for error in by_rest.json()["errors"]), by_rest.text[:300]
    assert jobs(system) == before
