"""The containerd driver's part of the node's configuration; a key that is not here is refused by name."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from typing import Any

import msgspec

from .. import DriverError
from .discovery import RuntimeSetting, usable_name
from .login import Credential


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How to reach containerd, where to keep what, and which network the containers get."""

    socket: str = "/run/containerd/containerd.sock"
    namespace: str = "spinney"
    state_dir: str = "/var/lib/spinney/containerd"
    """What must survive a reboot: the containers' output."""
    run_dir: str = "/run/spinney/containerd"
    """What must not: the runtimes' own state and the addresses in use."""
    snapshotter: str = "overlayfs"
    log_mib: int = 16
    """How much of a container's output is kept at least; at most it takes twice that on the disk."""
    plain_http: tuple[str, ...] = ()
    """Registries (``host`` or ``host:port``) spoken to without TLS; loopback addresses are anyway."""
    credentials: dict[str, Credential] = {}
    """By registry (``host`` or ``host:port``): who we are there. Public images need none."""
    bridge: str = "spinney0"
    subnet: str = "10.63.0.0/20"
    """IPv4 network of the node-local bridge; must not overlap with a route this machine has."""
    cni_dir: str = "/usr/lib/cni"
    config_path: str = "/etc/containerd/config.toml"
    """containerd's own configuration: read, never written, to learn which runtimes it names."""
    search_path: str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/opt/kata/bin"
    """Where runtimes and shims are looked for; should be what containerd itself has as its PATH."""
    runtimes: dict[str, RuntimeSetting] = {}
    """Runtimes that neither containerd's configuration nor the search path shows, or shows wrongly."""

    def __post_init__(self) -> None:
        network = ipaddress.ip_network(self.subnet)
        if network.version != 4 or network.prefixlen > 29:
            raise ValueError(f"subnet {self.subnet}: an IPv4 network of /29 or larger is needed")
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,14}", self.bridge):
            raise ValueError(f"bridge {self.bridge!r}: 1 to 15 letters, digits, '_', '.' and '-' are allowed")
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,39}", self.namespace):
            raise ValueError(f"namespace {self.namespace!r}: 1 to 40 letters, digits, '_', '.' and '-' are allowed")
        if self.log_mib < 1:
            raise ValueError(f"log_mib {self.log_mib}: 1 or more is needed")
        for name in ("socket", "state_dir", "run_dir", "cni_dir"):
            if not Path(getattr(self, name)).is_absolute():
                raise ValueError(f"{name} {getattr(self, name)!r}: an absolute path is needed")
        for name in self.runtimes:
            if not usable_name(name):
                raise ValueError(f"runtimes.{name}: not a name for a runtime (letters, digits, '_', '.', '-')")


def parse(raw: dict[str, Any]) -> Settings:
    """The settings as given by the node's configuration; raises DriverError that says where and what."""
    try:
        return msgspec.convert(raw, Settings)
    except msgspec.ValidationError as e:
        raise DriverError(f"settings of the containerd driver: {e}") from e
