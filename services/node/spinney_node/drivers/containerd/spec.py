"""The OCI runtime specification of one container, as a pure function of what is asked for.

The defaults are the ones that container engines agree on: few capabilities, no new privileges, masked kernel files.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final

from msgspec import Struct
from spinney_shared.model import Resources

from .. import Unsupported
from .capabilities import DEFAULT
from .manifest import Defaults

_MASKED: Final = (
    "/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/sched_debug",
    "/proc/scsi", "/proc/timer_list", "/proc/timer_stats", "/sys/devices/virtual/powercap", "/sys/firmware",
)  # fmt: skip
_READ_ONLY: Final = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")
_PATH: Final = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_CPU_PERIOD_US: Final = 100_000
_LEAST_QUOTA_US: Final = 1_000
"""The kernel takes no smaller quota."""


class Container(Struct, frozen=True):
    """Everything that the specification of one container depends on."""

    id: str
    image: Defaults
    cgroup: str
    """The ``cgroupsPath``, in the form that the runtime's cgroup manager wants."""
    netns: str
    """Path of the network namespace to join."""
    command: tuple[str, ...] = ()
    """Replaces the image's entrypoint and command when not empty."""
    environment: tuple[str, ...] = ()
    hostname: str = ""
    resources: Resources = Resources()
    privileged: bool = False
    capabilities: tuple[str, ...] = DEFAULT
    binds: tuple[tuple[str, str], ...] = ()
    """(path on the host, path inside), read-only."""


def build(c: Container) -> dict[str, Any]:
    """The specification; raises Unsupported when image and workload together name nothing to run."""
    return {
        "ociVersion": "1.0.2",
        "process": _process(c),
        "root": {"path": "rootfs"},
        "hostname": c.hostname or c.id,
        "mounts": [*_mounts(c.privileged), *(_bind(source, target) for source, target in c.binds)],
        "linux": {
            "resources": _resources(c.resources, c.privileged),
            "cgroupsPath": c.cgroup,
            "namespaces": [
                *({"type": kind} for kind in ("pid", "ipc", "uts", "mount")),
                {"type": "network", "path": c.netns},
            ],
            "maskedPaths": [] if c.privileged else list(_MASKED),
            "readonlyPaths": [] if c.privileged else list(_READ_ONLY),
        },
    }


def hostname(job_name: str, number: int) -> str:
    """A host name people recognise: the microservice's own part of ``app.ns.service.ns``, and the number."""
    parts = job_name.split(".")
    name = re.sub(r"[^a-z0-9]+", "-", (parts[2] if len(parts) == 4 else job_name).lower()).strip("-")
    return f"{name[:40] or 'instance'}-{number}"


def _process(c: Container) -> dict[str, Any]:
    args = c.command or (*(c.image.entrypoint or ()), *(c.image.cmd or ()))
    if not args:
        raise Unsupported("the image names no command and the microservice gives none (cmd)")
    capabilities = list(c.capabilities)
    return {
        "user": _user(c.image.user),
        "args": list(args),
        "env": _environment([_PATH, *(c.image.env or ()), *c.environment]),
        "cwd": c.image.working_dir or "/",
        "capabilities": dict.fromkeys(("bounding", "effective", "permitted"), capabilities),
        "noNewPrivileges": not c.privileged,
    }


def _user(text: str) -> dict[str, int]:
    """``""``, ``1000``, ``1000:1000`` or root; names of other users are not looked up yet: raises Unsupported."""
    user, _, group = text.partition(":")
    ids = [{"": "0", "root": "0"}.get(part, part) for part in (user, group)]
    if not all(re.fullmatch(r"\d{1,9}", part) for part in ids):
        raise Unsupported(f"the image wants to run as user {text!r}: only numeric users and root are supported")
    return {"uid": int(ids[0]), "gid": int(ids[1])}


def _environment(pairs: Iterable[str]) -> list[str]:
    """``K=V`` lists joined; a later one replaces an earlier one of the same name."""
    return [f"{key}={value}" for key, value in dict(pair.split("=", 1) for pair in pairs if "=" in pair).items()]


def _mounts(privileged: bool) -> list[dict[str, Any]]:
    safe = ["nosuid", "noexec", "nodev"]
    return [
        {"destination": "/proc", "type": "proc", "source": "proc", "options": safe},
        {
            "destination": "/dev",
            "type": "tmpfs",
            "source": "tmpfs",
            "options": ["nosuid", "strictatime", "mode=755", "size=65536k"],
        },
        {
            "destination": "/dev/pts",
            "type": "devpts",
            "source": "devpts",
            "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        },
        {
            "destination": "/dev/shm",  # noqa: S108 - the container's own
            "type": "tmpfs",
            "source": "shm",
            "options": [*safe, "mode=1777", "size=65536k"],
        },
        {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue", "options": safe},
        {
            "destination": "/sys",
            "type": "sysfs",
            "source": "sysfs",
            "options": [*safe, "rw" if privileged else "ro"],
        },
    ]


def _bind(source: str, target: str) -> dict[str, Any]:
    return {"destination": target, "type": "bind", "source": source, "options": ["rbind", "ro", "nosuid", "nodev"]}


def _resources(wanted: Resources, privileged: bool) -> dict[str, Any]:
    limits: dict[str, Any] = {"devices": [{"allow": privileged, "access": "rwm"}]}
    if wanted.memory_mib:
        limits["memory"] = {"limit": wanted.memory_mib * 1024 * 1024}
    if wanted.cpu_milli:
        quota = max(_LEAST_QUOTA_US, wanted.cpu_milli * _CPU_PERIOD_US // 1000)
        shares = max(2, wanted.cpu_milli * 1024 // 1000)
        limits["cpu"] = {"shares": shares, "quota": quota, "period": _CPU_PERIOD_US}
    return limits
