"""What is known of runtimes by their names: what they are, and which shim is theirs.

A name that is not here is taken for an ordinary OCI binary; whether it works is for the canary to show.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal

from msgspec import Struct

Kind = Literal["container", "sandbox", "microvm", "unikernel"]


class Known(Struct, frozen=True):
    """One runtime as the world knows it."""

    kind: Kind = "container"
    isolation: str = "host kernel"
    runtime_type: str = ""
    """Its own shim's type; empty = it is driven by the runc shim."""
    version_of: str = ""
    """The binary to ask for the version when the runtime has a shim of its own."""
    image_flavours: tuple[str, ...] = ("oci",)

    @property
    def own_kernel(self) -> bool:
        """A program inside must see another kernel than the host's."""
        return self.kind != "container"


_VM: Final = "virtual machine"

_KATA: Final = Known("microvm", _VM, "io.containerd.kata.v2", "kata-runtime")

KNOWN: Final[dict[str, Known]] = {
    "runc": Known(),
    "crun": Known(),
    "youki": Known(),
    "railcar": Known(),
    "bwrap-oci": Known(),
    "runlxc": Known(),
    "runsc": Known("sandbox", "user-space kernel", "io.containerd.runsc.v1", "runsc"),
    "runnc": Known("sandbox", "library operating system"),
    "kata": _KATA,
    "firecracker": Known("microvm", _VM, "aws.firecracker", "firecracker"),
    "runu": Known("unikernel", _VM, image_flavours=("unikraft-oci",)),
    "urunc": Known("unikernel", _VM, "io.containerd.urunc.v2", "urunc", image_flavours=("urunc-oci",)),
}

OCI_BINARIES: Final = ("runc", "crun", "youki", "runsc", "runu", "runnc", "railcar", "bwrap-oci", "runlxc")
"""Looked for on the search path; each is driven by the runc shim unless its own shim is there."""


def known(name: str, binary: str = "", runtime_type: str = "") -> Known:
    """What is known of a runtime by its name, or else by its binary's (for an alias), or else by its shim's type."""
    for word in (name, Path(binary).name, *runtime_type.split(".")[2:-1]):
        if word.startswith("kata-"):  # kata-qemu and its like are Kata with another hypervisor
            return _KATA
        if word in KNOWN:
            return KNOWN[word]
    return Known()


def shim_binary(runtime_type: str) -> str:
    """The file name containerd looks for: ``io.containerd.runsc.v1`` → ``containerd-shim-runsc-v1``."""
    return "containerd-shim-" + "-".join(runtime_type.split(".")[-2:])
