"""The settings that several services share."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from .secret import Secret

Port = Annotated[int, Meta(ge=1, le=65535)]


class TlsSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Paths of PEM files. An empty ``ca`` means the system's authorities."""

    ca: str = ""
    cert: str = ""
    key: str = ""


class MqttSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the broker is and how to log in."""

    host: str = "127.0.0.1"
    port: Port = 1883
    username: str = ""
    password: Secret = Secret()
    tls: TlsSettings | None = None
    """Given, even empty: the connection is encrypted and the broker's name is checked."""
    keepalive_s: Annotated[int, Meta(ge=1, le=65535)] = 10
    """Silence after which each side asks whether the other is still there."""


class MongoSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which database of which MongoDB; the URL is secret because it holds a password."""

    url: Secret = Secret("mongodb://127.0.0.1:27017/?directConnection=true")
    database: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{1,63}$")] = "spinney"


class LogSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is logged and how it looks: text for people, JSON lines for collectors."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["text", "json"] = "text"
