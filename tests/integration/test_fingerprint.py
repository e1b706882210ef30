"""Runtimes on a real containerd: what works is verified, what does not says why, and what is mended works."""

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from spinney_node.drivers import Changed, Driver, EngineUnavailable, Unsupported
from spinney_node.drivers.conformance import silent, until
from spinney_node.drivers.containerd import ContainerdDriver, fingerprint
from spinney_node.drivers.containerd.candidates import Candidate
from spinney_node.drivers.containerd.engine import Engine, RunResult
from spinney_node.drivers.containerd.fingerprint import Verifier
from spinney_shared.model import RuntimeInfo

from tests.integration.engine_fixtures import STAY, candidate_settings, clean, collect, left_behind, script
from tests.mended import UNIFIED, Mended, executable
from tests.services import need

HYBRID = UNIFIED.is_mount()
"""cgroup v1 and v2 side by side."""

Connect = Callable[..., Awaitable[ContainerdDriver]]


@pytest.fixture
async def connect(engine_settings: dict[str, Any]) -> AsyncIterator[Connect]:
    """Makes drivers on the run's containerd, with more settings."""
    drivers: list[ContainerdDriver] = []

    async def make(**more: Any) -> ContainerdDriver:
        drivers.append(ContainerdDriver(engine_settings | more))
        return drivers[-1]

    yield make
    for driver in drivers:
        await driver.close()


async def found(driver: Driver) -> dict[str, RuntimeInfo]:
    return {info.name: info for info in await driver.fingerprint()}


async def test_runc_is_verified_with_version_start_time_and_source(connect: Connect):
    runc = (await found(await connect()))["runc"]
    assert (runc.state, runc.kind, runc.isolation, runc.default) == ("verified", "container", "host kernel", True)
    assert runc.version[0].isdigit()
    assert runc.start_ms > 0
    assert runc.source.startswith("PATH: /")


async def test_crun_on_hybrid_cgroups_says_so_and_how_to_mend_it(connect: Connect):
    need("crun")
    if not HYBRID:
        pytest.skip("cgroups are not in hybrid mode on this machine")
    crun = (await found(await connect()))["crun"]
    assert crun.state == "failed"
    assert crun.reason.startswith("cgroups in hybrid mode not supported")
    assert "private mount namespace" in crun.hint


async def test_gvisor_from_before_its_kernel_says_so_and_how_to_mend_it(connect: Connect):
    need("runsc")
    runsc = (await found(await connect()))["runsc"]
    if runsc.state == "verified":
        pytest.skip(f"gVisor {runsc.version} works on this kernel as it is")
    assert runsc.kind == "sandbox"
    assert runsc.reason.endswith("cannot run with network enabled in root network namespace")
    assert "--network=host" in runsc.hint


async def test_nothing_is_left_behind(connect: Connect, engine: Engine):
    await (await connect()).fingerprint()
    assert await engine.containers.list() == []
    assert await engine.tasks.list() == {}
    assert await engine.network.addresses() == {}
    await collect(engine)
    assert await left_behind(engine) == []


async def test_a_runtime_is_never_taken_for_another(connect: Connect, busybox_ref: str):
    """runc under the name of gVisor: it runs the canary well, and that is not what counts."""
    driver = await connect(runtimes={"runsc": {"binary": "runc"}, "mine": {"binary": "runc"}})
    infos = await found(driver)
    assert infos["runsc"].state == "failed"
    assert "the host's own kernel" in infos["runsc"].reason
    assert infos["mine"].state == "verified"
    with pytest.raises(Unsupported, match="the host's own kernel"):
        await driver.start(script(busybox_ref, *STAY, runtime="runsc"), silent)


async def test_what_cannot_work_says_why(connect: Connect, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(fingerprint, "CANARY_DEADLINE_S", 1.0)
    monkeypatch.setattr(fingerprint, "VERSION_DEADLINE_S", 0.3)
    runtimes = {
        "ghost": {"binary": "no-such-runtime"},
        "gone": {"binary": str(tmp_path / "gone")},
        "broken": {"binary": executable(tmp_path / "broken", "exit 1")},
        "hangs": {"binary": executable(tmp_path / "hangs", "exec sleep 60")},
        "kata": {"type": "io.containerd.nothere.v2"},
    }
    infos = await found(await connect(runtimes=runtimes))
    failed = {name: info for name, info in infos.items() if name in runtimes}
    assert {info.state for info in failed.values()} == {"failed"}
    assert failed["ghost"].reason == "no-such-runtime: no such program on the search path"
    assert "no such file" in failed["gone"].reason
    assert failed["broken"].reason.endswith("/broken did not terminate successfully: exit status 1")
    assert "within 1 s" in failed["hangs"].reason
    assert "containerd-shim-nothere-v2" in failed["kata"].reason
    assert all(failed[name].hint for name in ("ghost", "gone", "hangs", "kata"))
    assert infos["runc"].state == "verified", "the others do not suffer"


async def test_a_success_is_remembered_until_its_program_changes(
    engine: Engine, engine_settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    runc = shutil.which("runc", path=engine.settings.search_path)
    wrapper = Path(executable(tmp_path / "wrapper", f'exec {runc} "$@"'))
    tried: list[str] = []
    run_once = engine.run_once

    async def counted(candidate: Candidate, *words: Any, **more: Any) -> RunResult:
        tried.append(candidate.name)
        return await run_once(candidate, *words, **more)

    monkeypatch.setattr(engine, "run_once", counted)
    runtimes = {"wrapped": {"binary": str(wrapper)}, "broken": {"binary": "/bin/false"}}
    settings = ContainerdDriver(engine_settings | {"runtimes": runtimes, "search_path": "/nowhere"})
    monkeypatch.setattr(engine, "settings", settings._engine.settings)
    await settings.close()
    verifier = Verifier(engine)
    first = await verifier.verify()
    assert tried == ["wrapped", "broken"]
    assert await verifier.verify() == first
    assert tried == ["wrapped", "broken", "broken"], "what failed is tried again, what worked is not"
    os.utime(wrapper, ns=(1, 1))
    await verifier.verify()
    assert tried[3:] == ["wrapped", "broken"]


async def test_a_new_runtime_is_news(connect: Connect, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(fingerprint, "LOOK_EVERY_S", 0.05)
    driver = await connect(search_path=f"{tmp_path}:{os.defpath}:/usr/sbin")
    await driver.fingerprint()
    events = driver.watch()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(anext(events), 0.3)
    executable(tmp_path / "youki", "exit 1")
    event = await asyncio.wait_for(anext(events), 10)
    assert isinstance(event, Changed)
    assert (await found(driver))["youki"].state == "failed"


async def test_what_failed_is_tried_again_after_a_while(
    connect: Connect, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(fingerprint, "LOOK_EVERY_S", 0.02)
    monkeypatch.setattr(fingerprint, "AGAIN_AFTER_LOOKS", 3)
    driver = await connect(search_path=str(tmp_path), runtimes={"late": {"binary": "/bin/false"}})
    await driver.fingerprint()
    event = await asyncio.wait_for(anext(driver.watch()), 10)
    assert isinstance(event, Changed)
    assert "failed" in event.detail


async def test_no_containerd_is_said(connect: Connect, tmp_path: Path):
    with pytest.raises(EngineUnavailable, match=r"none\.sock"):
        await (await connect(socket=str(tmp_path / "none.sock"))).fingerprint()


@pytest.fixture
def mended(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mended]:
    need("containerd", "ctr", "runc", "crun", "runsc", "unshare", "ip", "nft")
    daemon = Mended(tmp_path_factory.mktemp("mended"))
    daemon.start()
    yield daemon
    daemon.stop()


async def test_crun_and_gvisor_work_where_containerd_is_set_up_for_them(mended: Mended, busybox_ref: str):
    settings = candidate_settings(mended)
    driver = ContainerdDriver(settings)
    try:
        infos = await found(driver)
        assert {name: info.state for name, info in infos.items()} == dict.fromkeys(
            ("runc", "crun", "runsc"), "verified"
        )
        assert [info.name for info in infos.values() if info.default] == ["crun"]
        assert infos["runsc"].isolation == "user-space kernel"
        assert "runtimes.toml" in infos["runsc"].source
        kernels = [await kernel_of_a_server(driver, busybox_ref, runtime) for runtime in ("crun", "runsc")]
        host = await asyncio.to_thread(Path("/proc/version").read_text)
        assert kernels[0] == host
        assert kernels[1].startswith("Linux version 4.4.0"), "gVisor's own"
    finally:
        await driver.close()
        await clean(settings)


async def kernel_of_a_server(driver: ContainerdDriver, ref: str, runtime: str) -> str:
    """What a web server on that runtime, which does answer at its own address, reads as its kernel's version."""
    workload = script(ref, "cat /proc/version > index.html", "exec httpd -f -p 8080", runtime=runtime)
    handle = await driver.start(workload, silent)
    assert handle.runtime == runtime
    texts: list[str] = []

    async def answers() -> bool:
        with suppress(httpx.TransportError):
            texts.append((await client.get(f"http://{handle.address}:8080/")).text)
        return bool(texts)

    async with httpx.AsyncClient(timeout=2) as client:
        await until(answers, f"an answer from the server on {runtime}")
    await driver.remove(workload.id)
    return texts[0]
