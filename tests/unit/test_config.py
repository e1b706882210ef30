"""Settings come from defaults, a file and the environment; what is wrong is said exactly and secrets are not."""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import Any

import pytest
from msgspec import Struct
from spinney_shared.config import ConfigError, LogSettings, MongoSettings, MqttSettings, Secret, load


class Driver(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    name: str
    weight: int = 1


class NodeSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    mqtt: MqttSettings = MqttSettings()
    mongo: MongoSettings = MongoSettings()
    log: LogSettings = LogSettings()
    name: str = ""
    drivers: tuple[str, ...] = ("containerd",)
    weights: list[int] = []
    fast: bool = False
    grace_s: float | None = None
    extra: dict[str, Any] = {}
    more: tuple[Driver, ...] = ()


class Needy(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    mqtt: MqttSettings = MqttSettings()
    name: str


def node(path: Path | None = None, **environ: str) -> NodeSettings:
    return load(NodeSettings, "SPINNEY_NODE", path, {f"SPINNEY_NODE__{name}": value for name, value in environ.items()})


def problem(path: Path | None = None, **environ: str) -> str:
    with pytest.raises(ConfigError) as caught:
        node(path, **environ)
    assert "hunter2" not in "".join(traceback.format_exception(caught.value))
    return str(caught.value)


@pytest.fixture
def toml(tmp_path: Path) -> Path:
    return tmp_path / "node.toml"


def test_nothing_given_means_the_defaults() -> None:
    assert node() == NodeSettings()
    assert load(NodeSettings, "SPINNEY_NODE", None, {"SPINNEY_NODER__NAME": "x", "PATH": "/bin"}) == NodeSettings()


def test_the_environment_overrides_the_file_and_the_file_the_defaults(toml: Path) -> None:
    toml.write_text('name = "file"\n[mqtt]\nhost = "file"\nport = 1')
    settings = node(toml, MQTT__HOST="environment")
    assert (settings.name, settings.mqtt.host, settings.mqtt.port) == ("file", "environment", 1)
    assert settings.mqtt.keepalive_s == 10


def test_texts_become_what_the_field_is() -> None:
    settings = node(
        NAME="7",
        DRIVERS="containerd, qemu,",
        WEIGHTS="1,2",
        FAST="true",
        GRACE_S="1.5",
        MQTT__PORT=" 8883 ",
        MQTT__TLS='{"ca": "/ca.pem"}',
        MONGO__URL="mongodb://h/",
        MORE='[{"name": "a", "weight": 2}]',
        EXTRA__DEPTH="3",
        EXTRA__WORD="x",
    )
    assert settings.name == "7"
    assert settings.drivers == ("containerd", "qemu")
    assert settings.weights == [1, 2]
    assert (settings.fast, settings.grace_s, settings.mqtt.port) == (True, 1.5, 8883)
    assert settings.mqtt.tls is not None
    assert settings.mqtt.tls.ca == "/ca.pem"
    assert settings.mongo.url.reveal() == "mongodb://h/"
    assert settings.more == (Driver(name="a", weight=2),)
    assert settings.extra == {"depth": 3, "word": "x"}
    assert node(DRIVERS='["a,b"]').drivers == ("a,b",)
    assert node(DRIVERS="").drivers == ()
    assert node(MQTT__TLS__CA="/x").mqtt.tls == settings.mqtt.tls.__class__(ca="/x")


def test_a_secret_comes_from_a_file_and_never_shows(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("hunter2\n")
    settings = node(MQTT__PASSWORD_FILE=str(tmp_path / "password"))
    assert settings.mqtt.password.reveal() == "hunter2"
    assert settings.mqtt.password == Secret("hunter2") != Secret()
    for shown in (repr(settings), str(settings), f"{settings.mqtt.password}", f"{settings.mqtt.password!r}"):
        assert "hunter2" not in shown
    assert bool(Secret("x"))
    assert not Secret()


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({"MQTT__HOTS": "x"}, "SPINNEY_NODE__MQTT__HOTS is no setting: did you mean host?"),
        ({"ZZZ": "x"}, "SPINNEY_NODE__ZZZ is no setting; known here: mqtt, mongo"),
        ({"MQTT__HOST__X": "x"}, "SPINNEY_NODE__MQTT__HOST__X: mqtt.host is one value and has no x"),
        ({"MQTT__PORT": "abc"}, "SPINNEY_NODE__MQTT__PORT = 'abc': expected a whole number"),
        ({"MQTT__PORT": "70000"}, "SPINNEY_NODE__MQTT__PORT = 70000: expected a whole number: Expected `int` <= 65535"),
        ({"FAST": "maybe"}, "SPINNEY_NODE__FAST = 'maybe': expected true or false"),
        ({"WEIGHTS": "1,x"}, "SPINNEY_NODE__WEIGHTS = 'x': expected a whole number"),
        ({"LOG__LEVEL": "loud"}, "SPINNEY_NODE__LOG__LEVEL = 'loud': expected one of debug, info, warning, error"),
        ({"MORE": "[{]"}, "SPINNEY_NODE__MORE: expected a list as JSON: JSON is malformed"),
        ({"MORE": '[{"name": 5}]'}, "SPINNEY_NODE__MORE = 5: expected a text"),
        (
            {"MORE": '[{"name": "a", "wait": 1}]'},
            "SPINNEY_NODE__MORE: expected a table of name, weight: Object contains",
        ),
        ({"MQTT__TLS": '{"ca": 5, "key": "hunter2"}'}, "SPINNEY_NODE__MQTT__TLS = 5: expected a text"),
        ({"MQTT": '"hunter2"'}, "SPINNEY_NODE__MQTT: expected a table of host"),
        ({"MQTT": '{"password": ["hunter2"]}'}, "SPINNEY_NODE__MQTT: expected a text"),
        ({"MQTT__PASSWORD_FILE": "/nowhere"}, "SPINNEY_NODE__MQTT__PASSWORD_FILE: cannot read '/nowhere'"),
        ({"MQTT__PASSWORD_FILE": "/dev/zero"}, "'/dev/zero' is larger than 65536 bytes"),
        (
            {"MQTT__PASSWORD_FILE": "/x", "MQTT__PASSWORD": "hunter2"},
            "SPINNEY_NODE__MQTT__PASSWORD_FILE and SPINNEY_NODE__MQTT__PASSWORD are both set",
        ),
    ],
)
def test_what_is_wrong_in_the_environment(environ: dict[str, str], said: str) -> None:
    assert said in problem(**environ)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[mqtt]\nhots = 'x'", "mqtt.hots in {path} is no setting: did you mean host?"),
        ("[mqtt]\nport = 'abc'", "mqtt.port in {path} = 'abc': expected a whole number: Expected `int`, got `str`"),
        ("mqtt = 'hunter2'", "mqtt in {path}: expected a table of host, port"),
        ("[mqtt]\npassword = 12", "mqtt.password in {path}: expected a text"),
        ("name = ", "{path} is not TOML"),
        ("[[more]]\nname='a'\n[[more]]\nname=7", "more.1.name in {path} = 7: expected a text"),
    ],
)
def test_what_is_wrong_in_the_file(toml: Path, text: str, said: str) -> None:
    toml.write_text(text)
    assert said.format(path=toml) in problem(toml)


def test_a_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    assert "cannot be read" in problem(tmp_path / "none.toml")


def test_all_unknown_names_are_said_at_once(toml: Path) -> None:
    toml.write_text("nome = 'x'\n[log]\nlevl = 'info'\n")
    with pytest.raises(ConfigError) as caught:
        node(toml, MQTT__HOTS="x", FAST="maybe")
    assert [text.split(" ")[0] for text in caught.value.problems] == [
        "nome",
        "log.levl",
        "SPINNEY_NODE__FAST",
        "SPINNEY_NODE__MQTT__HOTS",
    ]


def test_what_must_be_set_is_named_as_one_would_set_it() -> None:
    with pytest.raises(ConfigError, match="name must be set, as SPINNEY_NEEDY__NAME or in a file"):
        load(Needy, "SPINNEY_NEEDY", None, {})
