"""The root's settings; read once, at start (`SPINNEY_ROOT__…`)."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct
from spinney_shared.config import MongoSettings, MqttSettings, Secret
from spinney_shared.running import ServiceSettings


class HttpSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the REST API listens."""

    host: str = "127.0.0.1"
    port: Annotated[int, Meta(ge=1, le=65535)] = 10000


class AdminSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The first admin, made when there is no user yet."""

    name: str = "Admin"
    password: Secret = Secret()
    """Generated and printed once when it is not given."""


class RootSettings(ServiceSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything an operator can set."""

    mqtt: MqttSettings = MqttSettings()
    mongo: MongoSettings = MongoSettings(database="spinney_root")
    http: HttpSettings = HttpSettings()
    admin: AdminSettings = AdminSettings()
