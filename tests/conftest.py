"""Fixtures that several kinds of test share: the real broker and the real database, started once per run."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from spinney.stack.folder import StateFolder
from spinney.stack.registry import Registry

from tests.services import Mongo, Mosquitto, OwnContainerd, need


@pytest.fixture(scope="session")
def mosquitto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mosquitto]:
    """A broker for the whole run. Tests that restart or break it take `own_mosquitto`."""
    need("mosquitto", "mosquitto_passwd")
    broker = Mosquitto(tmp_path_factory.mktemp("mosquitto"))
    broker.start()
    yield broker
    broker.stop()


@pytest.fixture
def own_mosquitto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mosquitto]:
    """A broker for this test alone, to restart, kill or leave stopped; started in 50 ms."""
    need("mosquitto", "mosquitto_passwd")
    broker = Mosquitto(tmp_path_factory.mktemp("mosquitto"))
    broker.start()
    yield broker
    broker.stop()


@pytest.fixture(scope="session")
def mongo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mongo]:
    """A replica set of one for the whole run; use a database with a name of your own."""
    server = Mongo(tmp_path_factory.mktemp("mongo"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def mosquitto_url(mosquitto: Mosquitto) -> str:
    """``mqtt://user:password@host:port`` of the run's broker."""
    return mosquitto.url


@pytest.fixture
def mongo_url(mongo: Mongo) -> str:
    """The URL of the run's MongoDB, with a user who may use every database."""
    return mongo.url


@pytest.fixture(scope="session")
def containerd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnContainerd]:
    """A containerd for the whole run, on ``containerd.socket``; its containers are removed at the end."""
    need("containerd", "ctr", "runc")
    daemon = OwnContainerd(tmp_path_factory.mktemp("containerd"))
    daemon.start()
    yield daemon
    daemon.stop()


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """An image registry for the whole run, at ``registry.address``."""
    need("docker-registry")
    daemon = Registry(StateFolder(tmp_path_factory.mktemp("registry")))
    daemon.start()
    yield daemon
    daemon.stop()
