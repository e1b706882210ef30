"""The cluster's settings; read once, at start (`SPINNEY_CLUSTER__…`)."""

from __future__ import annotations

from spinney_shared.config import MongoSettings, MqttSettings
from spinney_shared.running import ServiceSettings


class ClusterSettings(ServiceSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything an operator can set."""

    name: str
    """The cluster's name: part of its topics, and what people and constraints call it."""
    mqtt: MqttSettings = MqttSettings()
    mongo: MongoSettings = MongoSettings(database="spinney_cluster")
    latitude: float | None = None
    longitude: float | None = None
    radius_km: float = 0.0
    host_ip: str = "127.0.0.1"
    """The address under which people reach this cluster; shown, not used."""
    report_every_s: float = 3.0
    """Heartbeat to the root when there is no news."""
    will_grace_s: float = 5.0
    """How long after a node's Last Will its instances are placed elsewhere."""
