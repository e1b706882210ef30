"""Settings: defaults, then a TOML file, then the environment, checked against types before anything starts."""

from __future__ import annotations

from msgspec import Struct


class Secret:
    """A password or key that shows in no log, traceback or dump; only `reveal` gives it away."""

    __slots__ = ("_value",)

    def __init__(self, value: str = "") -> None:
        self._value = value

    def reveal(self) -> str:
        """The secret itself, for the one place that needs it."""
        return self._value

    def __bool__(self) -> bool:
        return bool(self._value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._value == other._value

    def __hash__(self) -> int:
        return hash(self._value)

    def __repr__(self) -> str:
        return "Secret(***)" if self._value else "Secret()"


class TlsSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Paths of PEM files. An empty ``ca`` means the system's authorities."""

    ca: str = ""
    cert: str = ""
    key: str = ""


class MqttSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the broker is and how to log in."""

    host: str = "127.0.0.1"
    port: int = 1883
    username: str = ""
    password: Secret = Secret()
    tls: TlsSettings | None = None
    keepalive_s: int = 10
    """Silence after which each side asks whether the other is still there."""
