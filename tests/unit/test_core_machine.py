"""What tells a machine from its copy: nothing that changes while it is used, and nothing random."""

from __future__ import annotations

from pathlib import Path

from spinney_node import machine


def made(root: Path, board: str = "", cards: tuple[str, ...] = (), virtual: tuple[str, ...] = ()) -> str:
    (root / "etc").mkdir(parents=True)
    (root / "etc/machine-id").write_text("the same on every copy\n")
    if board:
        (root / "sys/class/dmi/id").mkdir(parents=True)
        (root / "sys/class/dmi/id/product_uuid").write_text(board)
    for number, address in enumerate(cards + virtual):
        folder = root / f"sys/class/net/eth{number}"
        folder.mkdir(parents=True)
        (folder / "address").write_text(f"{address}\n")
        if address in cards:
            (folder / "device").mkdir()
    return machine.fingerprint(root)


def test_a_copied_disk_on_another_board_is_told_apart(tmp_path: Path) -> None:
    assert made(tmp_path / "a", board="1") != made(tmp_path / "b", board="2")
    assert made(tmp_path / "c", cards=("aa:01",)) != made(tmp_path / "d", cards=("aa:02",))


def test_interfaces_of_containers_change_nothing(tmp_path: Path) -> None:
    before = made(tmp_path / "a", cards=("aa:01",))
    assert made(tmp_path / "b", cards=("aa:01",), virtual=("02:42", "02:43")) == before


def test_a_new_network_card_does_not_change_a_machine_whose_board_has_an_id(tmp_path: Path) -> None:
    assert made(tmp_path / "a", board="1", cards=("aa:01",)) == made(tmp_path / "b", board="1", cards=("aa:02",))


def test_nothing_random_where_there_is_nothing_to_read(tmp_path: Path) -> None:
    assert made(tmp_path / "a") == made(tmp_path / "b")
    assert machine.fingerprint() == machine.fingerprint()
