"""Reading containerd's configuration and the search path from a machine."""

from pathlib import Path

import pytest
from spinney_node.drivers.containerd import survey
from spinney_node.drivers.containerd.survey import programs, read_texts, stamp


def test_imports_are_followed_once_with_wildcards_and_relative_paths(tmp_path: Path):
    main = tmp_path / "config.toml"
    main.write_text(f'imports = ["conf.d/*.toml", "{tmp_path}/more.toml"]')
    (tmp_path / "conf.d").mkdir()
    (tmp_path / "conf.d" / "b.toml").write_text('imports = ["../config.toml"]')
    (tmp_path / "conf.d" / "a.toml").write_text("version = 2")
    (tmp_path / "more.toml").write_text("version = 3")
    texts, problems = read_texts(str(main))
    assert [Path(path).name for path, _ in texts] == ["config.toml", "a.toml", "b.toml", "more.toml"]
    assert problems == []


def test_no_configuration_is_no_problem(tmp_path: Path):
    assert read_texts(str(tmp_path / "none.toml")) == ([], [])


def test_what_cannot_be_read_is_said_and_the_rest_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(survey, "MAX_CONFIG_BYTES", 100)
    main = tmp_path / "config.toml"
    main.write_text('imports = ["none.toml", "big.toml", "bytes.toml", "good.toml"]')
    (tmp_path / "big.toml").write_text("#" * 101)
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe")
    (tmp_path / "good.toml").write_text("")
    texts, problems = read_texts(str(main))
    assert [Path(path).name for path, _ in texts] == ["config.toml", "good.toml"]
    assert ["none.toml" in problems[0], "big.toml" in problems[1], "bytes.toml" in problems[2]] == [True] * 3


def test_endless_imports_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(survey, "MAX_CONFIG_FILES", 3)
    for number in range(5):
        (tmp_path / f"{number}.toml").write_text(f'imports = ["{number + 1}.toml"]')
    texts, problems = read_texts(str(tmp_path / "0.toml"))
    assert len(texts) == 3
    assert "more than 3 files" in problems[0]


def test_programs_are_executable_files_and_the_first_folder_wins(tmp_path: Path):
    first, second = tmp_path / "first", tmp_path / "second"
    for folder in (first, second):
        folder.mkdir()
        for name in ("runc", "containerd-shim-kata-v2", "ls"):
            (folder / name).write_text("")
            (folder / name).chmod(0o755)
    (first / "crun").write_text("not executable")
    (second / "runsc").mkdir()
    found = programs(f"{first}:relative:{second}:{tmp_path}/none")
    assert found == {"runc": f"{first}/runc", "containerd-shim-kata-v2": f"{first}/containerd-shim-kata-v2"}


def test_a_stamp_changes_with_the_file(tmp_path: Path):
    file = tmp_path / "runc"
    absent = stamp(str(file))
    file.write_text("one")
    first = stamp(str(file))
    file.write_text("three")
    assert len({absent, first, stamp(str(file))}) == 3
