"""The pinned requirements and what the distributions say they need must not drift apart."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

TOP = Path(__file__).parents[2]
PROJECTS = ["shared", "services/root", "services/cluster", "services/node", "cli"]
PIN = re.compile(r"^([A-Za-z0-9._-]+)(?:\[.*])?==([^ ;\\]+)", re.MULTILINE)


def pins(name: str) -> dict[str, str]:
    text = (TOP / "requirements" / f"{name}.txt").read_text()
    return {canonicalize_name(package): version for package, version in PIN.findall(text)}


def unmet(wanted: list[str], pinned: dict[str, str]) -> list[str]:
    requirements = [Requirement(text) for text in wanted if not text.startswith("spinney")]
    return [str(r) for r in requirements if not r.specifier.contains(pinned.get(canonicalize_name(r.name), "0.dev0"))]


@pytest.mark.parametrize("project", PROJECTS)
def test_every_dependency_is_pinned_in_a_version_it_allows(project: str) -> None:
    about = tomllib.loads((TOP / project / "pyproject.toml").read_text())["project"]
    wanted = [*about["dependencies"], *(r for extra in about.get("optional-dependencies", {}).values() for r in extra)]
    assert unmet(wanted, pins("runtime")) == [], "run `make lock`"
    if project != "shared":
        assert unmet(wanted, pins(Path(project).name)) == [], "run `make lock`"


def test_every_development_dependency_is_pinned() -> None:
    groups = tomllib.loads((TOP / "pyproject.toml").read_text())["dependency-groups"]
    assert unmet([text for text in groups["dev"] if isinstance(text, str)], pins("dev")) == [], "run `make lock`"
    assert unmet(groups["build"], pins("runtime")) == [], "run `make lock`"


def test_what_runs_and_what_is_developed_with_are_the_same_versions() -> None:
    assert pins("runtime").items() <= pins("dev").items()


def test_every_pin_has_a_hash_and_no_file_names_an_index() -> None:
    for file in [*(TOP / "requirements").glob("*.txt"), TOP / "cli/spinney/stack/mongod.txt"]:
        text = file.read_text()
        bare = [line for line in text.splitlines() if PIN.match(line) and not line.endswith("\\")]
        assert bare == [], file  # the hashes stand on the lines that follow
        assert "://" not in text, file
        assert "--index" not in text, file
