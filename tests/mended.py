"""A containerd set up so that runtimes work which on a machine as it comes do not: crun and an old gVisor."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from tests.services import OwnContainerd

UNIFIED = Path("/sys/fs/cgroup/unified")


def executable(path: Path, *lines: str) -> str:
    """A shell script as a file."""
    path.write_text("\n".join(("#!/bin/sh", *lines, "")))
    path.chmod(0o755)
    return str(path)


class Mended(OwnContainerd):
    """A containerd on which everything works.

    It runs in a mount namespace of its own without the hybrid cgroup mount, and its configuration, through an import,
    names a wrapper as gVisor's binary and crun as the default.
    """

    def command(self) -> Sequence[str]:
        hide = 'if mountpoint -q "$0"; then umount "$0"; fi; exec "$@"'
        return ["unshare", "--mount", "--propagation", "private", "sh", "-c", hide, str(UNIFIED), *super().command()]

    def prepare(self) -> None:
        super().prepare()
        folder = self.config_file.parent
        runsc = shutil.which("runsc")
        wrapper = executable(folder / "runsc-here", f'exec {runsc} --network=host --platform=ptrace "$@"')
        (folder / "runtimes.toml").write_text(
            'version = 2\n[plugins."io.containerd.grpc.v1.cri".containerd]\ndefault_runtime_name = "crun"\n'
            '[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runsc]\nruntime_type = "io.containerd.runc.v2"\n'
            f'[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runsc.options]\nBinaryName = "{wrapper}"\n'
        )
        self.config_file.write_text(f'imports = ["{folder}/runtimes.toml"]\n{self.config_file.read_text()}')
