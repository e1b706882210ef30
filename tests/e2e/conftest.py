"""The processes exactly as `make up` starts them, once for all end-to-end tests, and a user who talks to them."""

from __future__ import annotations

import json
import queue
import subprocess
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anyio.from_thread
import httpx
import paho.mqtt.client as mqtt
import pytest
from anyio.from_thread import BlockingPortal
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from spinney.demo.image import ensure_demo_image
from spinney.stack import Stack
from spinney.stack.settings import inherited_environment

from tests.services import need

DEADLINE_S = 40.0
"""For anything that should happen within seconds: the machine may be busy."""


class Publisher:
    """Another system on the broker, with the client's login: publishes, and waits for answers."""

    def __init__(self, stack: Stack) -> None:
        self._answers: queue.Queue[tuple[bytes, bytes]] = queue.Queue()
        self._client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
        self._client.username_pw_set("client", stack.mosquitto.password_file("client").read_text())
        self._client.on_message = self._heard
        self._listening = threading.Event()
        self._client.on_connect = lambda client, *_: client.subscribe("client/answers", qos=1)
        self._client.on_subscribe = lambda *_: self._listening.set()
        self._client.on_disconnect = lambda *_: self._listening.clear()
        self._client.reconnect_delay_set(1, 1)
        self._client.connect("127.0.0.1", stack.mosquitto.port)
        self._client.loop_start()

    def publish(self, topic: str, payload: bytes, properties: Properties | None = None) -> None:
        """Publish once the broker (which tests restart) has us again; returns when it has the message."""
        deadline = time.monotonic() + DEADLINE_S
        while True:
            assert self._listening.wait(DEADLINE_S), "the test's own client is not connected"
            sent = self._client.publish(topic, payload, qos=1, properties=properties)
            if sent.rc == mqtt.MQTT_ERR_SUCCESS:
                return sent.wait_for_publish(10)
            assert time.monotonic() < deadline, mqtt.error_string(sent.rc)
            time.sleep(0.1)

    def ask(self, topic: str, payload: bytes) -> bytes:
        """Publish with a response topic and wait for the answer to this very message."""
        properties = Properties(PacketTypes.PUBLISH)
        properties.ResponseTopic, properties.CorrelationData = "client/answers", uuid.uuid4().bytes
        self.publish(topic, payload, properties)
        while True:
            correlation, answer = self._answers.get(timeout=DEADLINE_S)
            if correlation == properties.CorrelationData:
                return answer

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _heard(self, client: mqtt.Client, userdata: object, message: mqtt.MQTTMessage) -> None:
        self._answers.put((getattr(message.properties, "CorrelationData", b""), message.payload))


class System:
    """A running stack as its users see it: MQTT events in, REST out, and a hand on its processes."""

    def __init__(self, stack: Stack, portal: BlockingPortal) -> None:
        self.stack, self.portal = stack, portal
        self.image = portal.call(ensure_demo_image, stack.registry.address)
        self.mqtt = Publisher(stack)
        self.http = httpx.Client(base_url=stack.rest_url, timeout=20)
        login = {"username": stack.admin, "password": stack.admin_password_file.read_text().strip()}
        token = self.http.post("/api/auth/login", json=login).json()["token"]
        self.http.headers["Authorization"] = f"Bearer {token}"

    def kill(self, name: str) -> None:
        self.portal.call(self.stack.kill, name)

    def start(self, name: str) -> None:
        self.portal.call(self.stack.start_one, name)

    def restart(self, name: str) -> None:
        self.portal.call(self.stack.restart, name)

    def ctr(self, *arguments: str) -> str:
        """Run containerd's own client on the stack's containers, behind Spinney's back; its standard output."""
        containerd = self.stack.containerd
        command = ("ctr", "--address", str(containerd.socket), "--namespace", containerd.namespace, *arguments)
        run = subprocess.run(command, capture_output=True, text=True, env=inherited_environment(), timeout=30)
        assert run.returncode == 0, run.stderr
        return run.stdout

    def event(self, kind: str, document: Any) -> dict[str, Any]:
        """Publish an event with a response topic; the answer."""
        raw = document if isinstance(document, bytes) else json.dumps(document).encode()
        return json.loads(self.mqtt.ask(f"spinney/v1/events/{kind}", raw))

    def sla(self, name: str, **fields: Any) -> dict[str, Any]:
        """A document with one microservice that serves a page on port 80."""
        microservice = {
            "microserviceID": "",
            "microservice_name": "web",
            "microservice_namespace": "test",
            "virtualization": "container",
            "cmd": [],
            "memory": 20,
            "vcpus": 0,
            "code": self.image,
            **fields,
        }
        application = {
            "applicationID": "",
            "application_name": name,
            "application_namespace": "test",
            "application_desc": "",
            "microservices": [microservice],
        }
        return {"sla_version": "v2.0", "customerID": "Admin", "applications": [application]}

    def get(self, path: str) -> Any:
        answer = self.http.get(path)
        answer.raise_for_status()
        return answer.json()

    def instances(self, job: str) -> list[dict[str, Any]]:
        """Of one microservice, by job name."""
        found = [i["instance"] for i in self.get("/api/v1/instances") if i["job_name"] == job]
        return sorted(found, key=lambda instance: instance["instance_number"])

    def wait(self, what: str, check: Callable[[], Any], deadline_s: float = DEADLINE_S) -> Any:
        """The first true value of `check`; fails saying what did not happen."""
        end = time.monotonic() + deadline_s
        while True:
            try:
                value = check()
            except (httpx.TransportError, httpx.HTTPStatusError) as error:
                value = None  # a process that was just killed is starting again
                if time.monotonic() > end:
                    raise AssertionError(f"{what}: {error}") from error
            if value:
                return value
            assert time.monotonic() < end, f"{what} did not happen; last words of the node:\n{self.words()}"
            time.sleep(0.1)

    def words(self) -> str:
        return "\n".join(self.stack.last_words(name) for name in ("root", "cluster", "node"))

    def running(self, job: str, count: int) -> list[dict[str, Any]]:
        """Wait until exactly `count` instances of the microservice are RUNNING and none other is there."""

        def check() -> list[dict[str, Any]]:
            there = self.instances(job)
            return there if [i["status"] for i in there] == ["RUNNING"] * count else []

        return self.wait(f"{count} instances of {job} RUNNING", check)

    def page(self, instance: dict[str, Any]) -> str:
        return httpx.get(f"http://{instance['address']}/", timeout=5).text


@pytest.fixture(scope="session")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """The stack, up for all tests of this folder. Each test deploys applications of its own."""
    need("mosquitto", "mosquitto_rr", "containerd", "runc", "docker-registry")
    folder: Path = tmp_path_factory.mktemp("stack")
    with (
        anyio.from_thread.start_blocking_portal() as portal,
        portal.wrap_async_context_manager(Stack(folder)) as stack,
    ):
        portal.call(stack.start)
        system = System(stack, portal)
        system.wait("a node with a verified runtime", lambda: system.get("/api/clusters/")[0]["virtualization"])
        yield system
        system.http.close()
        system.mqtt.close()
