"""The broker and the database of the local stack: they keep strangers out and keep what they were given."""

import subprocess
from collections.abc import Iterator

import pymongo
import pytest
from pymongo.errors import OperationFailure
from spinney.stack.tools import program

from tests.services import Mongo, Mosquitto

TOPIC = "spinney/test"


@pytest.fixture(scope="module")
def own_mongo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mongo]:
    """Not the run's own: these tests restart it and move it."""
    server = Mongo(tmp_path_factory.mktemp("own-mongo"))
    server.start()
    yield server
    server.stop()


def publish(broker: Mosquitto, *more: str) -> subprocess.CompletedProcess[str]:
    command = [program("mosquitto_pub", "mosquitto-clients"), "-p", str(broker.port), "-t", TOPIC, "-V", "5"]
    return subprocess.run([*command, *more], capture_output=True, text=True, check=False)


def read_retained(broker: Mosquitto) -> str:
    command = [program("mosquitto_sub", "mosquitto-clients"), "-p", str(broker.port), "-t", TOPIC, "-C", "1", "-W", "5"]
    who = ["-u", broker.user, "-P", broker.password]
    return subprocess.run([*command, *who], capture_output=True, text=True, check=False).stdout.strip()


def test_mosquitto_refuses_a_client_without_a_password(mosquitto: Mosquitto) -> None:
    assert "not authorized" in publish(mosquitto, "-m", "hello").stderr.lower()


def test_mosquitto_refuses_a_wrong_password(mosquitto: Mosquitto) -> None:
    assert "not authorized" in publish(mosquitto, "-m", "hello", "-u", mosquitto.user, "-P", "wrong").stderr.lower()


def test_mosquitto_keeps_retained_messages_over_a_restart(own_mosquitto: Mosquitto) -> None:
    port = own_mosquitto.port
    done = publish(own_mosquitto, "-m", "kept", "-r", "-q", "1", "-u", own_mosquitto.user, "-P", own_mosquitto.password)
    assert done.returncode == 0, done.stderr
    own_mosquitto.restart()
    assert own_mosquitto.port == port
    assert read_retained(own_mosquitto) == "kept"


def test_no_secret_is_on_a_command_line_or_readable_by_others(mosquitto: Mosquitto, mongo: Mongo) -> None:
    for daemon, secret in ((mosquitto, mosquitto.password), (mongo, mongo.folder.secret("mongo-tests"))):
        assert secret not in " ".join(daemon.command())
        files = [path for path in daemon.folder.path.rglob("*") if path.is_file() and "data" not in path.parts]
        assert [path for path in files if "log" not in path.name and path.stat().st_mode & 0o077] == []
        assert daemon.folder.path.stat().st_mode & 0o077 == 0


def test_mongod_refuses_a_client_without_a_password(mongo: Mongo) -> None:
    with (
        pymongo.MongoClient(mongo_address(mongo), directConnection=True) as stranger,
        pytest.raises(OperationFailure, match="requires authentication"),
    ):
        stranger.strangers.things.insert_one({})


def test_mongod_has_transactions_and_keeps_data_over_a_restart(own_mongo: Mongo) -> None:
    with pymongo.MongoClient(own_mongo.url) as client, client.start_session() as session, session.start_transaction():
        client.kept.things.insert_one({"n": 1}, session=session)
    own_mongo.restart()
    with pymongo.MongoClient(own_mongo.url) as client:
        assert client.kept.things.count_documents({}) == 1


def test_mongod_follows_its_port(own_mongo: Mongo) -> None:
    """The port of last time may be taken: the replica set must then live on under another one."""
    own_mongo.stop()
    own_mongo.port = 0
    own_mongo.start()
    with pymongo.MongoClient(own_mongo.url) as client:
        client.moved.things.insert_one({})


def mongo_address(mongo: Mongo) -> str:
    return f"mongodb://127.0.0.1:{mongo.port}"
