"""What containers print is kept to a size, and read from its end."""

from pathlib import Path

from spinney_node.drivers.containerd.logs import tail, trim


def test_the_end_is_read(tmp_path: Path) -> None:
    assert tail(tmp_path / "none", 10) == b""
    (tmp_path / "log").write_bytes(b"0123456789")
    assert tail(tmp_path, 3) == b"789"
    assert tail(tmp_path, 100) == b"0123456789"
    assert tail(tmp_path, 0) == b""


def test_a_large_file_is_cut_while_it_is_written_to(tmp_path: Path) -> None:
    log = tmp_path / "c1" / "log"
    log.parent.mkdir()
    with log.open("ab", buffering=0) as shim:
        shim.write(b"x" * 50 + b"0123456789")
        trim(tmp_path, 60)
        assert tail(log.parent, 100) == b"x" * 50 + b"0123456789", "it is not too large yet"
        shim.write(b"!")
        trim(tmp_path, 60)
        assert log.stat().st_size == 0
        shim.write(b"after")
        assert tail(log.parent, 3) == b"ter"
        assert tail(log.parent, 8) == b"89!after"
        assert tail(log.parent, 1000) == b"x" * 49 + b"0123456789!after"
        shim.write(b"y" * 100)
        trim(tmp_path, 60)
        assert tail(log.parent, 1000) == b"y" * 60


def test_no_folder_is_fine(tmp_path: Path) -> None:
    trim(tmp_path / "none", 10)
