"""A runtime that containerd could be asked to use, before anyone knows whether it works here.

Discovery fills these in, the canary proves them, the engine starts containers with them.
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct
from spinney_shared.model import RuntimeInfo

from .known import known

RUNC_SHIM: Final = "io.containerd.runc.v2"
"""The shim for every OCI binary that has runc's command line: runc, crun, youki, runsc by a wrapper, runu."""


class ShimOptions(Struct, frozen=True):
    """What containerd's configuration says about a runtime that has a shim of its own; handed to it unread."""

    type_url: str = ""
    config_path: str = ""
    config_body: str = ""


class Candidate(Struct, frozen=True):
    """One runtime as containerd has to be told of it."""

    name: str
    """What people ask for: ``runc``, ``runsc``, ``kata``."""
    runtime_type: str = RUNC_SHIM
    binary: str = ""
    """Absolute path of the OCI binary, for the runc shim; empty = the shim's own choice (``runc`` on PATH)."""
    systemd_cgroup: bool = False
    """For the runc shim: let systemd make the cgroups."""
    options: ShimOptions = ShimOptions()
    """For shims of their own."""
    source: str = ""
    """Where it was found, in words: ``containerd configuration``, ``PATH: /usr/bin/crun``."""

    @property
    def like_runc(self) -> bool:
        """It is driven by the runc shim, through runc's command line."""
        return self.runtime_type == RUNC_SHIM

    @property
    def plain_processes(self) -> bool:
        """The container is processes in namespaces: its network may be set up while it is being created."""
        return self.like_runc and known(self.name, self.binary).kind == "container"


class Verdict(Struct, frozen=True):
    """A candidate and what its canary showed; only one with ``info.state == "verified"`` is ever used."""

    candidate: Candidate
    info: RuntimeInfo
