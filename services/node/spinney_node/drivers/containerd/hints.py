"""Turns what containerd and a runtime say when a start fails into a reason people can read, and a mend where known."""

from __future__ import annotations

import re
from typing import Final

LONGEST_REASON: Final = 300
"""Characters; a reason travels with every announcement of the node and stands in a table."""

_WRAPPINGS: Final = re.compile(
    r"failed to create (shim )?task: |failed to start shim: |OCI runtime (create|start) failed: "
    r"|unable to retrieve OCI runtime error \([^)]*\): |rpc error: code = \w+ desc = "
    r"|(?<!\S)\S+ did not terminate successfully: exit status \d+: (?=\S)"
)
"""Every layer between the runtime and us adds one of these."""

_PASSING: Final = ((re.compile(r"/proc/\d+/"), "/proc/PID/"), (re.compile(r"canary-[0-9a-f]{12}"), "canary"))
"""What is different on every run: the same cause must give the same reason, on all nodes and every time."""

_LOG_LINE: Final = re.compile(r'time="[^"]*" level=\w+ msg="?')

_HINTS: Final[tuple[tuple[re.Pattern[str], str], ...]] = tuple(
    (re.compile(pattern, re.IGNORECASE), hint)
    for pattern, hint in (
        (
            r"cgroups in hybrid mode not supported",
            "boot with systemd.unified_cgroup_hierarchy=1 (cgroup v2 alone), or run containerd in a private mount "
            "namespace in which /sys/fs/cgroup/unified is unmounted",
        ),
        (
            r"cannot run with network enabled in root network namespace",
            "this gVisor is too old for this kernel: install a newer one, or name a wrapper script as its binary that "
            "adds --network=host or --network=none (and --platform=ptrace where there is no KVM)",
        ),
        (
            r"containerd-shim-\S+: no such|binary not installed|shim.* (not found|does not exist)",
            "install the runtime's containerd shim into a folder of containerd's search path",
        ),
        (
            r"/dev/kvm|\bKVM\b",
            "this runtime needs hardware virtualization: load the kvm module, allow nested virtualization where this "
            "is a virtual machine itself, or configure the runtime to do without",
        ),
        (
            r"no such program|executable file not found|(exec:?|stat) \S*: no such file",
            "install the runtime, or correct the path of its binary in the configuration",
        ),
        (r"permission denied", "the binary must be executable, and neither AppArmor nor SELinux may forbid it"),
        (r"exec format error", "the binary is made for another processor"),
        (
            r"systemd|dbus",
            "this machine's init is not systemd, or it cannot be reached: turn SystemdCgroup off for this runtime",
        ),
        (r"to its end within", "the runtime hangs here: look at its own log, and whether it needs KVM"),
    )
)


def reason_of(words: str) -> str:
    """The runtime's own words without the layers around them, on one line, shortened in the middle."""
    line = " ".join(words.split()).removesuffix(": unknown").strip()
    bare = _LOG_LINE.sub("", _WRAPPINGS.sub("", line)).strip(' "') or line or "it failed without a word"
    for pattern, word in _PASSING:
        bare = pattern.sub(word, bare)
    if len(bare) <= LONGEST_REASON:
        return bare
    half = (LONGEST_REASON - 3) // 2
    return f"{bare[:half]} … {bare[-half:]}"


def hint_for(reason: str) -> str:
    """What mends it, when the cause is a known one; empty otherwise."""
    return next((hint for pattern, hint in _HINTS if pattern.search(reason)), "")
