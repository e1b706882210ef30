"""`make setup`: what the list of Debian packages calls a proof is really there after it: a second run has no work."""

import shutil
import subprocess
from pathlib import Path

import pytest
from spinney.stack.settings import in_ci, inherited_environment

TOP = Path(__file__).parents[2]
LIST = TOP / "requirements" / "debian.txt"


def rows() -> list[tuple[str, str]]:
    lines = [line.split() for line in LIST.read_text().splitlines() if line.strip() and not line.startswith("#")]
    return [(package, proof) for package, proof in lines]


@pytest.mark.parametrize(("package", "proof"), rows())
def test_the_proof_of_each_package_is_there(package: str, proof: str) -> None:
    path = inherited_environment()["PATH"]
    there = Path(proof).exists() if proof.startswith("/") else shutil.which(proof, path=path) is not None
    if not there and not in_ci():
        pytest.skip(f"{package} is not installed (`make setup` installs it)")
    assert there, f"{package} does not bring {proof}"


def test_nothing_missing_means_nothing_done_and_nothing_said(tmp_path: Path) -> None:
    present = tmp_path / "list"
    present.write_text("# a comment\n\ncoreutils ls\ndash /bin/sh\n")
    done = subprocess.run([TOP / "scripts/install-debian-packages", present], capture_output=True, check=True)
    assert done.stdout + done.stderr == b""
