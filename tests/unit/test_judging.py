"""Reasons, hints, versions, and which runtime becomes the default."""

import pytest
from spinney_node.drivers.containerd.canary import MARK, Kernel
from spinney_node.drivers.containerd.candidates import Candidate, Verdict
from spinney_node.drivers.containerd.hints import LONGEST_REASON, hint_for, reason_of
from spinney_node.drivers.containerd.judging import isolation_shown, objection, parse_version, with_default
from spinney_node.drivers.containerd.known import known, shim_binary
from spinney_shared.model import RuntimeInfo

HOST = Kernel("6.1.0", "#1 SMP host")
CRUN = (
    "failed to create shim task: OCI runtime create failed: unable to retrieve OCI runtime error (open "
    "/run/x/log.json: no such file or directory): /usr/bin/crun did not terminate successfully: exit status 1: "
    "cgroups in hybrid mode not supported, drop all controllers from cgroupv2\n: unknown"
)
RUNSC = (
    "OCI runtime start failed: /usr/bin/runsc did not terminate successfully: exit status 128: starting container: "
    'setting up network: creating interfaces from net namespace "/proc/13815/ns/net": cannot run with network '
    "enabled in root network namespace\n: unknown"
)
SHIM = (
    'failed to start shim: failed to resolve runtime path: runtime "io.containerd.kata.v2" binary not installed '
    '"containerd-shim-kata-v2": file does not exist: unknown'
)


def seen(kernel: Kernel) -> bytes:
    fields = ("Linux", "node", kernel.release, kernel.version, "m", "d")
    return MARK + b"".join(field.encode().ljust(65, b"\0") for field in fields) + b"\n"


def test_reasons_are_the_runtimes_own_words():
    assert reason_of(CRUN) == "cgroups in hybrid mode not supported, drop all controllers from cgroupv2"
    assert reason_of(RUNSC) == (
        'starting container: setting up network: creating interfaces from net namespace "/proc/PID/ns/net": '
        "cannot run with network enabled in root network namespace"
    )


def test_a_runtime_that_says_nothing_leaves_its_exit_status():
    assert reason_of(CRUN[: CRUN.index(": cgroups")] + ": unknown") == (
        "/usr/bin/crun did not terminate successfully: exit status 1"
    )


def test_the_same_cause_gives_the_same_reason():
    assert reason_of("canary-0123456789ab: /proc/7/x") == reason_of("canary-ba9876543210: /proc/99/x")


def test_a_long_reason_keeps_its_ends():
    short = reason_of("first words " + "x" * 10_000 + " last words: unknown")
    assert len(short) <= LONGEST_REASON
    assert short.startswith("first words")
    assert short.endswith("last words")


@pytest.mark.parametrize("words", ["", " \n", ": unknown"])
def test_there_is_always_a_reason(words: str):
    assert reason_of(words)


@pytest.mark.parametrize(
    ("words", "mend"),
    [
        (CRUN, "unified_cgroup_hierarchy"),
        (RUNSC, "--network=host"),
        (SHIM, "shim"),
        ("containerd-shim-kata-v2: no such program on the search path", "shim"),
        ("youki: no such program on the search path", "install the runtime"),
        ('exec: "/opt/youki": stat /opt/youki: no such file or directory', "path of its binary"),
        ("qemu: Could not access KVM kernel module: No such file or directory", "kvm module"),
        ("fork/exec /opt/x: exec format error", "another processor"),
        ("fork/exec /opt/x: permission denied", "executable"),
        ("runsc did not run spinney.local/canary:1 to its end within 10 s", "hangs"),
        ("something nobody has seen", ""),
    ],
)
def test_hints(words: str, mend: str):
    hint = hint_for(reason_of(words))
    assert mend in hint
    assert bool(mend) == bool(hint)


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("runc version 1.1.5+ds1\ncommit: 1.1.5\nspec: 1.0.2-dev", "1.1.5+ds1"),
        ("crun version 1.8.1\ncommit: f8a", "1.8.1"),
        ("runsc version 0.0~20221219.0\nspec: 1.0.2-dev", "0.0~20221219.0"),
        ("runsc version release-20240807.0", "release-20240807.0"),
        ("youki version 0.3.3\ncommit: x", "0.3.3"),
        ("kata-runtime  : 3.2.0\n   commit   : abc", "3.2.0"),
        ("Firecracker v1.7.0", "1.7.0"),
        ("\nrunu 0.10.1", "0.10.1"),
        ("no number here", ""),
        ("", ""),
    ],
)
def test_versions(text: str, version: str):
    assert parse_version(text) == version


def test_a_good_run_has_no_objection():
    assert objection(known("runc"), 0, seen(HOST), HOST) == ""
    assert objection(known("runsc"), 0, seen(Kernel("4.4.0", "#1 SMP gvisor")), HOST) == ""


def test_objections():
    assert "exit code 3" in objection(known("runc"), 3, seen(HOST), HOST)
    assert "did not arrive" in objection(known("runc"), 0, b"", HOST)


@pytest.mark.parametrize("name", ["runsc", "kata", "kata-fc", "runu", "urunc"])
def test_a_runtime_that_shows_the_hosts_kernel_is_not_what_it_says(name: str):
    assert "the host's own kernel" in objection(known(name), 0, seen(HOST), HOST)


def test_isolation_is_what_is_known_or_what_was_seen():
    other = seen(Kernel("5.10", "#1"))
    assert isolation_shown(known("runsc"), other, HOST) == "user-space kernel"
    assert isolation_shown(known("crun"), seen(HOST), HOST) == "host kernel"
    assert isolation_shown(known("nobody-knows"), other, HOST) == "a kernel of its own"


def test_an_alias_is_known_by_its_binary_or_its_shim():
    assert known("secure", "/usr/bin/runsc").kind == "sandbox"
    assert known("vm", "", "io.containerd.kata.v2").kind == "microvm"
    assert known("kata-qemu").kind == "microvm"
    assert known("plain", "/usr/bin/other", "io.containerd.runc.v2").kind == "container"
    assert shim_binary("aws.firecracker") == "containerd-shim-aws-firecracker"


def verdicts(*names: str, failed: str = "") -> list[Verdict]:
    return [
        Verdict(
            Candidate(name),
            RuntimeInfo(name, "containerd", "failed" if name == failed else "verified", known(name).kind),
        )
        for name in names
    ]


@pytest.mark.parametrize(
    ("found", "configured", "default"),
    [
        (verdicts("crun", "runc", "runsc"), "", ["runc"]),
        (verdicts("crun", "runc", "runsc"), "crun", ["crun"]),
        (verdicts("crun", "runc", "runsc"), "runsc", ["runsc"]),
        (verdicts("crun", "runc", failed="runc"), "runc", ["crun"]),
        (verdicts("runsc", "zeta", "alpha"), "gone", ["alpha"]),
        (verdicts("runsc", "urunc"), "", ["runsc"]),
        (verdicts("urunc"), "urunc", []),
        (verdicts("runc", failed="runc"), "", []),
        ([], "", []),
    ],
)
def test_exactly_one_default_that_works(found: list[Verdict], configured: str, default: list[str]):
    marked = with_default(found, configured)
    assert [v.info.name for v in marked if v.info.default] == default
    assert [v.info.name for v in marked] == [v.info.name for v in found]
