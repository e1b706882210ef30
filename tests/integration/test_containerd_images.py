"""Images: pulled from a real registry once and whole, or not at all."""

import asyncio
import gzip
import json

import pytest
from spinney.stack.registry import Registry
from spinney_node.drivers import ImageUnavailable
from spinney_node.drivers.containerd.content import Content
from spinney_node.drivers.containerd.engine import Engine

from tests.integration.engine_fixtures import (
    ARCH,
    digest,
    index,
    left_behind,
    silent,
    tar,
    tiny,
)


async def test_an_image_is_pulled_unpacked_and_read(engine: Engine, registry: Registry) -> None:
    ref, words = tiny("a", layers=3).push(registry.address, "images/a"), list[str]()
    await engine.api.connect()
    found = await engine.images.ensure(ref, words.append)
    assert (found.name, found.defaults.cmd, found.defaults.env) == (ref, ["/x"], ["TEXT=a"])
    assert words[0] == f"pulling {ref}"
    assert f"pulling {ref}, 4 of 4 parts" in words
    mounts = await engine.containers.prepare_snapshot("probe", found.snapshot)
    assert any("lowerdir" in option and option.count(":") == 2 for option in mounts[0].options)
    await engine.containers.remove_snapshot("probe")


async def test_what_is_there_is_not_pulled_again(engine: Engine, registry: Registry) -> None:
    ref, words = tiny("b").push(registry.address, "images/b"), list[str]()
    await engine.api.connect()
    first = await engine.images.ensure(ref, silent)
    tiny("other").push(registry.address, "images/b")
    assert await engine.images.ensure(ref, words.append) == first
    assert words == []


async def test_two_at_once_pull_once(engine: Engine, registry: Registry) -> None:
    ref, words = tiny("c", layers=2).push(registry.address, "images/c"), list[str]()
    await engine.api.connect()
    first, second = await asyncio.gather(*(engine.images.ensure(ref, words.append) for _ in range(2)))
    assert first == second
    assert words.count(f"pulling {ref}") == 1


async def test_the_manifest_of_this_machine_is_taken_from_an_index(engine: Engine, registry: Registry) -> None:
    many = index({"riscv64": tiny("far"), ARCH: tiny("here")})
    ref = many.push(registry.address, "images/many")
    await engine.api.connect()
    assert (await engine.images.ensure(ref, silent)).defaults.env == ["TEXT=here"]
    by_digest = f"{registry.address}/images/many@{many.digest}"
    assert (await engine.images.ensure(by_digest, silent)).defaults.env == ["TEXT=here"]


async def test_an_index_without_this_machine_says_what_it_has(engine: Engine, registry: Registry) -> None:
    ref = index({"riscv64": tiny("far")}).push(registry.address, "images/far")
    await engine.api.connect()
    with pytest.raises(ImageUnavailable, match=f"not built for linux/{ARCH}; it has linux/riscv64"):
        await engine.images.ensure(ref, silent)
    assert await left_behind(engine) == []


async def test_the_collector_leaves_a_pulled_image_alone(engine: Engine, registry: Registry) -> None:
    ref = index({ARCH: tiny("keep", layers=2)}).push(registry.address, "images/keep")
    await engine.api.connect()
    first = await engine.images.ensure(ref, silent)
    async with Content(engine.api).lease():
        pass  # its end is when the collector runs
    with pytest.raises(RuntimeError):  # and the end of a failed one waits for the collector
        async with Content(engine.api).lease():
            raise RuntimeError
    words = list[str]()
    assert await engine.images.ensure(ref, words.append) == first
    assert words == []


async def test_an_image_in_memory_is_imported_and_forgotten(engine: Engine) -> None:
    made = tiny("memory")
    await engine.api.connect()
    await engine.images.import_image("spinney.local/canary:1", made.blobs, made.digest)
    await engine.images.import_image("spinney.local/canary:1", made.blobs, made.digest)
    assert (await engine.images.ensure("spinney.local/canary:1", silent)).defaults.env == ["TEXT=memory"]
    newer = tiny("newer")
    await engine.images.import_image("spinney.local/canary:1", newer.blobs, newer.digest)
    assert (await engine.images.ensure("spinney.local/canary:1", silent)).defaults.env == ["TEXT=newer"]
    await engine.images.remove("spinney.local/canary:1")
    await engine.images.remove("spinney.local/canary:1")


@pytest.mark.parametrize("harm", ["absent", "changed"])
async def test_a_damaged_image_in_memory_leaves_nothing(engine: Engine, harm: str) -> None:
    made = tiny(harm, layers=2)
    victim = next(d for d, blob in made.blobs.items() if blob[:2] == b"\x1f\x8b")
    blobs = {d: blob for d, blob in made.blobs.items() if d != victim}
    if harm == "changed":
        blobs[victim] = b"something else"
    await engine.api.connect()
    with pytest.raises(ImageUnavailable, match=victim):
        await engine.images.import_image("spinney.local/bad:1", blobs, made.digest)
    assert await left_behind(engine) == []


async def test_a_layer_that_is_not_what_the_config_says_is_refused(engine: Engine) -> None:
    made, packed = tiny("lie"), gzip.compress(tar({"file0": b"truth"}), mtime=0)
    document = json.loads(made.top)
    document["layers"][0].update(digest=digest(packed), size=len(packed))
    top = json.dumps(document).encode()
    await engine.api.connect()
    with pytest.raises(ImageUnavailable, match="damaged"):
        blobs = {**made.blobs, digest(packed): packed, digest(top): top}
        await engine.images.import_image("spinney.local/lie:1", blobs, digest(top))
    assert await left_behind(engine) == []
