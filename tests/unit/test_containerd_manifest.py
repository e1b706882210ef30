"""Image documents are read with suspicion."""

import json
from typing import Any

import pytest
from spinney_node.drivers import ImageUnavailable
from spinney_node.drivers.containerd import manifest as m

A, B, C = ("sha256:" + c * 64 for c in "abc")
TAR = "application/vnd.oci.image.layer.v1.tar+gzip"


def manifest(*layers: dict[str, Any], config: dict[str, Any] | None = None) -> m.Manifest:
    document = {"config": config or {"digest": A, "size": 10}, "layers": list(layers)}
    return m.check_manifest(m.read(json.dumps(document).encode(), m.Manifest, "x"), "x")


def layer(digest: str = B, size: Any = 5, media_type: str = TAR) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": digest, "size": size}


def test_chain_ids_follow_the_specification() -> None:
    assert m.chain_ids([]) == []
    assert m.chain_ids([A]) == [A]
    second = m.digest_of(f"{A} {B}".encode())
    assert m.chain_ids([A, B, C]) == [A, second, m.digest_of(f"{second} {C}".encode())]


def test_labels_name_everything_the_collector_must_keep() -> None:
    assert m.manifest_labels(manifest(layer(B), layer(C))) == {
        "containerd.io/gc.ref.content.config": A,
        "containerd.io/gc.ref.content.l.0": B,
        "containerd.io/gc.ref.content.l.1": C,
    }


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (layer(digest="sha512:00"), "only sha256"),
        (layer(digest="sha256:" + "g" * 64), "only sha256"),
        (layer(size=-1), "claims -1 bytes"),
        (layer(size=1 << 50), "claims"),
        (layer(media_type="application/x-evil"), "no filesystem"),
        (layer(size="5"), "cannot be read"),
    ],
)
def test_a_bad_layer_is_refused(bad: dict[str, Any], words: str) -> None:
    with pytest.raises(ImageUnavailable, match=words):
        manifest(bad)


def test_too_many_layers_and_a_huge_config_are_refused() -> None:
    with pytest.raises(ImageUnavailable, match="257 layers"):
        manifest(*[layer()] * 257)
    with pytest.raises(ImageUnavailable, match="config of x"):
        manifest(config={"digest": A, "size": m.MAX_DOCUMENT + 1})


@pytest.mark.parametrize("bad", [b"", b"[]", b"\xff", b"{", b'{"config": 1}'])
def test_a_document_that_is_none_is_refused(bad: bytes) -> None:
    with pytest.raises(ImageUnavailable, match="nginx cannot be read"):
        m.read(bad, m.Manifest, "nginx")


def test_the_index_entry_for_this_machine_is_chosen() -> None:
    def entry(digest: str, arch: str, os: str = "linux") -> m.Descriptor:
        return m.Descriptor(digest, 1, platform=m.Platform(arch, os))

    index = m.Index([m.Descriptor(A, 1), entry(A, "amd64", "windows"), entry(B, "arm64"), entry(C, "amd64")])
    assert m.choose(index, "amd64", "x").digest == C
    with pytest.raises(ImageUnavailable, match="not built for linux/riscv64; it has linux/amd64, linux/arm64, windows"):
        m.choose(index, "riscv64", "x")


def test_a_config_of_another_machine_or_with_other_layers_is_refused() -> None:
    one = manifest(layer())
    with pytest.raises(ImageUnavailable, match="built for arm64; this machine is amd64"):
        m.check_config(m.Config(architecture="arm64", rootfs=m.RootFs([A])), one, "amd64", "x")
    with pytest.raises(ImageUnavailable, match="1 layers but 2 diff ids"):
        m.check_config(m.Config(rootfs=m.RootFs([A, B])), one, "amd64", "x")
