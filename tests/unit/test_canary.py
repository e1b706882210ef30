"""The canary's program and image; where the processor fits, the very bytes are run."""

import hashlib
import io
import json
import os
import platform
import signal
import struct
import subprocess
import tarfile
from pathlib import Path

import pytest
from spinney_node.drivers.containerd.canary import ARCHITECTURES, MARK, Kernel, kernel_seen, program
from spinney_node.drivers.containerd.canary_image import canary_image

HERE = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine())
OUTPUT_BYTES = len(MARK) + 6 * 65 + 1

here_only = pytest.mark.skipif(HERE is None, reason=f"there is no canary for {platform.machine()}")


@pytest.fixture
def binary(tmp_path: Path) -> Path:
    path = tmp_path / "canary"
    path.write_bytes(program(HERE or ""))
    path.chmod(0o755)
    return path


def host() -> Kernel:
    return Kernel(os.uname().release, os.uname().version)


@here_only
def test_it_prints_one_line_about_the_kernel_and_ends(binary: Path):
    done = subprocess.run([binary], capture_output=True, timeout=10, check=True)
    assert (len(done.stdout), done.stderr) == (OUTPUT_BYTES, b"")
    assert done.stdout.endswith(b"\n")
    assert kernel_seen(done.stdout) == host()


@here_only
def test_with_an_argument_it_stays_until_it_is_asked_to_end(binary: Path):
    with subprocess.Popen([binary, "stay"], stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            assert kernel_seen(process.stdout.read(OUTPUT_BYTES)) == host()
            assert process.poll() is None
            process.send_signal(signal.SIGTERM)
            assert process.wait(10) == 0
        finally:
            process.kill()


@pytest.mark.parametrize(("arch", "machine"), [("amd64", 62), ("arm64", 183)])
def test_it_is_a_small_static_executable_without_a_page_that_is_written_and_run(arch: str, machine: int):
    elf = program(arch)
    assert len(elf) < 1024
    assert elf[:6] == b"\x7fELF\x02\x01"
    kind, found, _, entry = struct.unpack_from("<HHIQ", elf, 16)
    assert (kind, found) == (2, machine)
    segments = [struct.unpack_from("<IIQQQQQQ", elf, 64 + 56 * n) for n in range(2)]
    assert [(s[0], s[1]) for s in segments] == [(1, 4 | 1), (1, 4 | 2)]
    assert all(s[5] == s[6] == len(elf) for s in segments)
    assert segments[0][3] < entry < segments[0][3] + len(elf)


def test_the_arm64_program_is_the_one_that_was_run_on_arm64():
    """Its bytes were run on an emulated processor; whoever changes them must do so again."""
    assert program("arm64")[-4:] == bytes.fromhex("010000d4"), "ends with svc 0"
    assert (
        hashlib.sha256(program("arm64")).hexdigest()
        == "9036232485938b6d02fb100266ee24c786916c4f1d9ac20f4f8eb98aa227e95d"
    )


@pytest.mark.parametrize("output", [b"", b"hello\n", MARK + bytes(390), MARK + bytes(389) + b"\n"])
def test_other_output_is_no_canary(output: bytes):
    assert kernel_seen(output) is None


def test_noise_before_the_line_is_passed_over():
    uts = b"".join(text.ljust(65, b"\0") for text in (b"Linux", b"n", b"4.4.0", b"#1 x", b"m", b"d"))
    assert kernel_seen(b"warning: old\n" + MARK + uts + b"\n") == Kernel("4.4.0", "#1 x")


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_the_image_is_complete_and_the_same_every_time(arch: str):
    image = canary_image(arch)
    assert image == canary_image(arch)
    assert all(key == "sha256:" + hashlib.sha256(blob).hexdigest() for key, blob in image.blobs.items())
    manifest = json.loads(image.blobs[image.manifest_digest])
    parts = [manifest["config"], *manifest["layers"]]
    assert {part["digest"] for part in parts} | {image.manifest_digest} == set(image.blobs)
    assert all(part["size"] == len(image.blobs[part["digest"]]) for part in parts)
    config = json.loads(image.blobs[manifest["config"]["digest"]])
    assert config["architecture"] == arch
    assert config["rootfs"]["diff_ids"] == [manifest["layers"][0]["digest"]]
    with tarfile.open(fileobj=io.BytesIO(image.blobs[manifest["layers"][0]["digest"]])) as tar:
        (entry,) = tar.getmembers()
        assert ("/" + entry.name, entry.mode) == (config["config"]["Entrypoint"][0], 0o755)
        content = tar.extractfile(entry)
        assert content is not None
        assert content.read() == program(arch)


def test_there_is_none_for_other_processors():
    with pytest.raises(KeyError):
        canary_image("riscv64")
