"""The OCI specification of a container, against a golden file, and the choices that go into it."""

import json
from pathlib import Path

import msgspec
import pytest
from spinney_node.drivers import Unsupported
from spinney_node.drivers.containerd.capabilities import DEFAULT, held
from spinney_node.drivers.containerd.manifest import Defaults
from spinney_node.drivers.containerd.spec import Container, build, hostname
from spinney_shared.model import Resources

GOLDEN = Path(__file__).parent / "golden" / "containerd_spec.json"
IMAGE = Defaults(
    entrypoint=["/bin/serve"], cmd=["--port", "80"], env=["A=1", "B=2"], user="1000:10", working_dir="/srv"
)
ORDINARY = Container(
    id="c1",
    image=IMAGE,
    cgroup="/spinney/c1",
    netns="/proc/1/fd/9",
    environment=("B=3", "C="),
    hostname="web-2",
    resources=Resources(memory_mib=64, cpu_milli=500),
    binds=(("/state/hosts", "/etc/hosts"),),
)


def changed(**changes: object) -> Container:
    return msgspec.structs.replace(ORDINARY, **changes)


def test_the_whole_specification() -> None:
    """After a change that is meant: write the new text into the golden file and read the difference."""
    assert build(ORDINARY) == json.loads(GOLDEN.read_text())


def test_a_command_replaces_entrypoint_and_command() -> None:
    assert build(ORDINARY)["process"]["args"] == ["/bin/serve", "--port", "80"]
    assert build(changed(command=("sh", "-c", "a  b")))["process"]["args"] == ["sh", "-c", "a  b"]


def test_no_command_at_all_is_refused() -> None:
    with pytest.raises(Unsupported, match="names no command"):
        build(changed(image=Defaults()))


def test_without_resources_there_are_no_limits() -> None:
    assert set(build(changed(resources=Resources()))["linux"]["resources"]) == {"devices"}


def test_a_tiny_share_of_a_cpu_is_one_the_kernel_takes() -> None:
    cpu = build(changed(resources=Resources(cpu_milli=1)))["linux"]["resources"]["cpu"]
    assert cpu == {"shares": 2, "quota": 1000, "period": 100_000}


def test_privileged_lifts_what_holds_others() -> None:
    spec = build(changed(privileged=True, capabilities=("CAP_SYS_ADMIN",)))
    assert "CAP_SYS_ADMIN" in spec["process"]["capabilities"]["effective"]
    assert spec["process"]["noNewPrivileges"] is False
    assert spec["linux"]["maskedPaths"] == spec["linux"]["readonlyPaths"] == []
    assert spec["linux"]["resources"]["devices"] == [{"allow": True, "access": "rwm"}]
    assert "CAP_SYS_ADMIN" not in build(ORDINARY)["process"]["capabilities"]["effective"]


@pytest.mark.parametrize(("user", "ids"), [("", (0, 0)), ("root", (0, 0)), ("5", (5, 0)), ("5:6", (5, 6))])
def test_numeric_users(user: str, ids: tuple[int, int]) -> None:
    image = Defaults(cmd=["x"], user=user)
    assert build(changed(image=image))["process"]["user"] == {"uid": ids[0], "gid": ids[1]}


@pytest.mark.parametrize("user", ["www-data", "-1", "5:staff", "1e3", "9999999999"])
def test_other_users_are_refused_rather_than_run_as_root(user: str) -> None:
    with pytest.raises(Unsupported, match="user"):
        build(changed(image=Defaults(cmd=["x"], user=user)))


@pytest.mark.parametrize(
    ("job", "name"),
    [("a.b.web.d", "web-7"), ("a.b.Web_1.d", "web-1-7"), ("odd", "odd-7"), ("a.b...d", "a-b-d-7"), ("", "instance-7")],
)
def test_host_names(job: str, name: str) -> None:
    assert hostname(job, 7) == name
    assert len(hostname("a.b." + "x" * 200 + ".d", 10**9)) <= 63


def test_capabilities_are_those_that_this_machine_lets_us_give() -> None:
    assert held("Name:\tx\nCapEff:\t0000000000000005\n") == ("CAP_CHOWN", "CAP_DAC_READ_SEARCH")
    everything = held("CapEff:\tffffffffffffffff")
    assert set(DEFAULT) < set(everything)
    assert everything[37] == "CAP_AUDIT_READ"
    assert held("") == ()
