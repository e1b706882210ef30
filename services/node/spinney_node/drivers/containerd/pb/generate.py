"""Generates the ``*_pb2`` modules from the ``.proto`` files of this folder; run after changing one of them."""

from __future__ import annotations

import sys
from importlib.resources import files
from pathlib import Path

from grpc_tools import protoc

HERE = Path(__file__).parent
ROOT = HERE.parents[3]
"""The folder that holds the package ``spinney_node``: generated modules import each other by full name."""


def main(out: Path = ROOT) -> int:
    """Write the modules below `out`; exit code of the compiler."""
    sources = [str(p.relative_to(ROOT)) for p in sorted(HERE.glob("*.proto"))]
    well_known = str(files("grpc_tools").joinpath("_proto"))
    return protoc.main(["protoc", f"-I{ROOT}", f"-I{well_known}", f"--python_out={out}", f"--pyi_out={out}", *sources])


if __name__ == "__main__":
    sys.exit(main())
