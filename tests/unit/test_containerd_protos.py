"""The generated modules are what their .proto files say."""

from pathlib import Path

from spinney_node.drivers.containerd.pb import generate


def test_the_generated_modules_are_up_to_date(tmp_path: Path) -> None:
    assert generate.main(tmp_path) == 0
    made = {file.name: file.read_text() for file in tmp_path.rglob("*_pb2.py*")}
    kept = {file.name: file.read_text() for file in generate.HERE.glob("*_pb2.py*")}
    assert made.keys() == kept.keys()
    for name, text in made.items():
        assert _meaning(text) == _meaning(kept[name]), (
            f"{name}: run python -m spinney_node.drivers.containerd.pb.generate"
        )


def _meaning(text: str) -> list[str]:
    """Without the lines that only name the generator's version."""
    return [
        line for line in text.splitlines() if "Protobuf Python Version" not in line and not line.strip(" ,").isdigit()
    ]
