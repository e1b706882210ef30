"""What a canary's run, a version text and a set of verdicts mean. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from msgspec.structs import replace
from spinney_shared.model import RuntimeInfo

from .canary import Kernel, kernel_seen
from .candidates import Verdict
from .known import Known

DRIVER: Final = "containerd"

_PREFERRED: Final = ("runc", "crun", "youki")
"""For the default, when containerd's configuration names none that works."""

_VERSION: Final = re.compile(r"(?:version|release)\s*:?\s*[-v]?(\S+)|:\s*v?(\d\S*)|\b[v]?(\d+\.\d\S*)", re.IGNORECASE)


def objection(what: Known, exit_code: int, output: bytes, host: Kernel) -> str:
    """Why this run of the canary does not prove the runtime; empty when it does.

    A runtime that promises another kernel must show one: a wrapper that quietly runs runc is not gVisor.
    """
    seen = kernel_seen(output)
    if exit_code != 0:
        return f"the canary ended with exit code {exit_code} instead of 0"
    if seen is None:
        return f"the canary's output did not arrive: {output[:64]!r}"
    if what.own_kernel and seen == host:
        return f"the canary saw the host's own kernel ({host.release}): this is no {what.isolation}"
    return ""


def isolation_shown(what: Known, output: bytes, host: Kernel) -> str:
    """The isolation in words; a runtime nobody knows is described by what its canary saw."""
    if what.own_kernel or kernel_seen(output) == host:
        return what.isolation
    return "a kernel of its own"


def parse_version(text: str) -> str:
    """The version in what ``--version`` prints; empty when there is none."""
    for line in text.splitlines()[:5]:
        if match := _VERSION.search(line):
            return next(group for group in match.groups() if group)[:40]
    return ""


def with_default(verdicts: Sequence[Verdict], configured: str) -> list[Verdict]:
    """The same with exactly one default among the verified ones: what `container` means on this node.

    containerd's configuration decides where its choice works, then custom; never a unikernel runtime, whose images
    are not what people mean by a container.
    """
    order = [configured, *_PREFERRED]
    able = [v.info for v in verdicts if v.info.state == "verified" and v.info.kind != "unikernel"]
    able.sort(key=lambda info: (_place(info, order), info.kind != "container", info.name))
    chosen = able[0].name if able else ""
    return [replace(v, info=replace(v.info, default=v.info.name == chosen)) for v in verdicts]


def _place(info: RuntimeInfo, order: Sequence[str]) -> int:
    return order.index(info.name) if info.name in order else len(order)
