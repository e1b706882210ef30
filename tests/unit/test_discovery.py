"""From configuration texts and names of programs to candidates."""

import pytest
from spinney_node.drivers import DriverError
from spinney_node.drivers.containerd.candidates import RUNC_SHIM, Candidate, ShimOptions
from spinney_node.drivers.containerd.discovery import (
    Configuration,
    RuntimeSetting,
    discover,
    imports_of,
    missing,
    read_configuration,
)
from spinney_node.drivers.containerd.settings import parse

SEED = """
[plugins.cri.containerd.runtimes.runsc]
  runtime_type = "io.containerd.runsc.v1"
[plugins.cri.containerd.runtimes.runsc.options]
  TypeUrl = "io.containerd.runsc.v1.options"
  ConfigPath = "/etc/containerd/runsc.toml"
"""
RUNSC_SHIM = "containerd-shim-runsc-v1"


def configured(text: str) -> dict[str, Candidate]:
    return {candidate.name: candidate for candidate in read_configuration([("c.toml", text)]).candidates}


@pytest.mark.parametrize(
    "plugin",
    [
        "cri",
        '"io.containerd.grpc.v1.cri"',
        '"io.containerd.cri.v1.runtime"',
        "io.containerd.grpc.v1.cri",
        '"com.example.other"',
    ],
)
def test_runtimes_are_found_under_any_plugin(plugin: str):
    text = f"""
    [plugins.{plugin}.containerd]
    default_runtime_name = "crun"
    [plugins.{plugin}.containerd.runtimes.crun]
    runtime_type = "io.containerd.runc.v2"
    [plugins.{plugin}.containerd.runtimes.crun.options]
    BinaryName = "/usr/bin/crun"
    SystemdCgroup = true
    """
    found = read_configuration([("c.toml", text)])
    assert found.default == "crun"
    assert found.candidates == (
        Candidate("crun", RUNC_SHIM, "/usr/bin/crun", True, source="containerd configuration: c.toml"),
    )


def test_a_shim_of_its_own_keeps_its_options():
    assert configured(SEED)["runsc"] == Candidate(
        "runsc",
        "io.containerd.runsc.v1",
        options=ShimOptions("io.containerd.runsc.v1.options", "/etc/containerd/runsc.toml"),
        source="containerd configuration: c.toml",
    )


@pytest.mark.parametrize("kind", ["", "io.containerd.runc.v1", "io.containerd.runtime.v1.linux"])
def test_old_ways_to_say_runc_mean_the_newest(kind: str):
    text = f'[plugins.cri.containerd.runtimes.old]\nruntime_type = "{kind}"\noptions = {{ Runtime = "/opt/old" }}'
    assert configured(text)["old"].runtime_type == RUNC_SHIM
    assert configured(text)["old"].binary == "/opt/old"


def test_what_is_wrong_is_named_and_the_rest_counts():
    texts = [
        ("broken.toml", "this is not"),
        ("odd.toml", '[plugins.cri.containerd.runtimes]\n"a b" = {}\ncontainer = {}\nnumber = 3\ngood = {}'),
        ("empty.toml", "plugins = 3"),
    ]
    found = read_configuration(texts)
    assert [candidate.name for candidate in found.candidates] == ["good"]
    assert [problem.split(":")[0] for problem in found.problems] == ["broken.toml", *["odd.toml"] * 3]


def test_wrong_types_inside_a_runtime_are_passed_over():
    text = "[plugins.cri.containerd.runtimes.x]\nruntime_type = 3\noptions = [1]"
    assert configured(text)["x"] == Candidate("x", source="containerd configuration: c.toml")


def test_a_later_file_wins():
    later = '[plugins.cri.containerd.runtimes.runsc]\nruntime_type = ""\noptions = { BinaryName = "/w" }'
    found = read_configuration([("first", SEED), ("second", later)])
    assert [(c.name, c.binary, c.source) for c in found.candidates] == [
        ("runsc", "/w", "containerd configuration: second")
    ]


def test_deep_nesting_ends():
    read_configuration([("c.toml", "[plugins." + "a." * 3000 + "containerd.runtimes.x]")])


def test_imports():
    assert imports_of('imports = ["/etc/containerd/conf.d/*.toml", "b.toml", 3]') == [
        "/etc/containerd/conf.d/*.toml",
        "b.toml",
    ]
    assert imports_of("imports = 3") == imports_of("") == []


def test_programs_on_the_path_become_candidates():
    programs = {
        "runc": "/usr/sbin/runc",
        "crun": "/usr/bin/crun",
        "runsc": "/usr/bin/runsc",
        "kata-runtime": "/opt/kata/bin/kata-runtime",
        "containerd-shim-runc-v2": "/usr/bin/containerd-shim-runc-v2",
        "containerd-shim-runc-v1": "/usr/bin/containerd-shim-runc-v1",
        "containerd-shim-kata-fc-v2": "/usr/bin/containerd-shim-kata-fc-v2",
        "containerd-shim-aws-firecracker": "/usr/bin/containerd-shim-aws-firecracker",
    }
    found = {c.name: (c.runtime_type, c.binary) for c in discover({}, Configuration(), programs)}
    assert found == {
        "runc": (RUNC_SHIM, "/usr/sbin/runc"),
        "crun": (RUNC_SHIM, "/usr/bin/crun"),
        "runsc": (RUNC_SHIM, "/usr/bin/runsc"),
        "kata": ("io.containerd.kata.v2", ""),
        "kata-fc": ("io.containerd.kata-fc.v2", ""),
        "firecracker": ("aws.firecracker", ""),
    }


def test_a_runtime_with_its_own_shim_is_driven_by_it():
    programs = {"runsc": "/usr/bin/runsc", RUNSC_SHIM: f"/usr/bin/{RUNSC_SHIM}"}
    (runsc,) = discover({}, Configuration(), programs)
    assert (runsc.runtime_type, missing(runsc, programs)) == ("io.containerd.runsc.v1", "")


def test_without_its_shim_a_configured_runtime_is_driven_as_a_binary_and_says_so():
    configuration = read_configuration([("c.toml", SEED)])
    (runsc,) = discover({}, configuration, {"runsc": "/usr/bin/runsc"})
    assert (runsc.runtime_type, runsc.binary) == (RUNC_SHIM, "/usr/bin/runsc")
    assert RUNSC_SHIM in runsc.source
    (absent,) = discover({}, configuration, {})
    assert RUNSC_SHIM in missing(absent, {})


def test_settings_come_before_configuration_and_configuration_before_the_path():
    settings = {"runsc": RuntimeSetting(binary="/etc/spinney/runsc-ptrace"), "youki": RuntimeSetting()}
    configuration = read_configuration(
        [("c.toml", SEED + '[plugins.cri.containerd.runtimes.crun.options]\nBinaryName = "crun"')]
    )
    programs = {"runsc": "/usr/bin/runsc", "crun": "/usr/bin/crun", "youki": "/usr/bin/youki"}
    found = {c.name: c for c in discover(settings, configuration, programs)}
    assert found["runsc"].binary == "/etc/spinney/runsc-ptrace"
    assert found["youki"].binary == "/usr/bin/youki"
    assert (found["crun"].binary, found["crun"].source) == ("/usr/bin/crun", "containerd configuration: c.toml")


def test_a_missing_binary_is_said_by_name():
    (ghost,) = discover({"ghost": RuntimeSetting()}, Configuration(), {})
    assert missing(ghost, {}) == "ghost: no such program on the search path"


@pytest.mark.parametrize("name", ["container", "a b", "../x", ""])
def test_settings_with_a_bad_name_are_refused(name: str):
    with pytest.raises(DriverError, match="runtimes"):
        parse({"runtimes": {name: {}}})


def test_settings_with_an_unknown_key_are_refused():
    with pytest.raises(DriverError, match="bin"):
        parse({"runtimes": {"x": {"bin": "/x"}}})


def test_network_may_come_late_only_for_plain_processes():
    assert Candidate("crun").plain_processes
    assert not Candidate("runsc", binary="/usr/bin/runsc").plain_processes
    assert not Candidate("secure", binary="/usr/bin/runsc").plain_processes
    assert not Candidate("kata", "io.containerd.kata.v2").plain_processes
