"""The node's settings; read once, at start (`SPINNEY_NODE__…`)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from msgspec import field
from spinney_shared.config import MqttSettings
from spinney_shared.running import ServiceSettings


class NodeSettings(ServiceSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything an operator can set."""

    cluster: str
    """The cluster to join."""
    name: str = ""
    """What people call this node; the host's name when empty."""
    state_dir: Path = Path("/var/lib/spinney-node")
    """The node's memory: its id and the instances it should run."""
    mqtt: MqttSettings = MqttSettings()
    drivers: dict[str, dict[str, Any]] = field(default_factory=lambda: {"containerd": {}})
    """Driver name → its settings; only those named here are loaded."""
    labels: dict[str, str] = field(default_factory=dict)
    host_ip: str = "127.0.0.1"
    """The address under which published ports of this node are reached."""
    latitude: float | None = None
    longitude: float | None = None
    memory_mib: int | None = None
    """What instances may reserve in all; the machine's memory when not set."""
    cpu_milli: int | None = None
    storage_mib: int | None = None
    report_every_s: float = 3.0
    """Heartbeat when there is no news."""
