"""Pages made from the code, so that they cannot say something else: ``python -m spinney_shared.describe``.

Rewrites the blocks between ``<!-- generated: name -->`` and ``<!-- end -->`` in ARCHITECTURE.md and writes
docs/asyncapi.json (AsyncAPI 3.0). A test compares both with the code.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any, Final

import msgspec

from . import lifecycle, topics

BLOCKS: Final = {
    "topics": topics.table,
    "lifecycle": lambda: f"```mermaid\n{lifecycle.diagram()}\n```",
}

_BLOCK: Final = re.compile(r"<!-- generated: (\w+) -->\n.*?<!-- end -->", re.DOTALL)
_SCHEMAS: Final = "#/components/schemas/{name}"


class UnknownBlock(ValueError):
    """A page asks for a generated block that does not exist."""


def with_blocks(page: str) -> str:
    """The page with all its generated blocks as they should be; raises UnknownBlock."""

    def block(found: re.Match[str]) -> str:
        name = found[1]
        if name not in BLOCKS:
            raise UnknownBlock(f"no generated block {name!r}; there are: {', '.join(sorted(BLOCKS))}")
        return f"<!-- generated: {name} -->\n{BLOCKS[name]()}\n<!-- end -->"

    return _BLOCK.sub(block, page)


def asyncapi() -> dict[str, Any]:
    """The AsyncAPI 3.0 document of every topic, with one operation for its sender and one for its receiver."""
    types = sorted({row.type for row in topics.ALL if row.type}, key=lambda kind: kind.__name__)
    _, schemas = msgspec.json.schema_components(types, ref_template=_SCHEMAS)
    messages = {kind.__name__: _message(kind) for kind in types}
    messages["Document"] = {"contentType": "application/json", "summary": "A document of a user's, or a CloudEvent"}
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Spinney",
            "version": "1",
            "description": "Everything the tiers of Spinney say to each other, by MQTT v5 with QoS 1, as JSON.",
        },
        "defaultContentType": "application/json",
        "channels": {_name(row): _channel(row) for row in topics.ALL},
        "operations": {
            f"{end}-{_name(row)}": _operation(row, action, end)
            for row in topics.ALL
            for action, end in (("send", row.sender), ("receive", row.receiver))
        },
        "components": {"messages": messages, "schemas": schemas},
    }


def _message(kind: type) -> dict[str, Any]:
    summary = (kind.__doc__ or "").splitlines()[0]
    payload = {"$ref": _SCHEMAS.format(name=kind.__name__)}
    return {"contentType": "application/json", "summary": summary, "payload": payload}


def _name(row: topics.Topic) -> str:
    """``cluster-node-report``: the literal words of the pattern."""
    return "-".join(word for word in row.pattern.split("/") if not word.startswith("{"))


def _channel(row: topics.Topic) -> dict[str, Any]:
    kind = row.type.__name__ if row.type else "Document"
    labels = re.findall(r"{(\w+)}", row.pattern)
    channel: dict[str, Any] = {
        "address": f"{topics.ROOT}/{row.pattern}",
        "summary": row.about,
        "messages": {kind: {"$ref": f"#/components/messages/{kind}"}},
        "bindings": {"mqtt": {"bindingVersion": "0.2.0"}},
    }
    if labels:
        channel["parameters"] = {label: {"description": f"matches {topics.NAME.pattern}"} for label in labels}
    return channel


def _operation(row: topics.Topic, action: str, end: str) -> dict[str, Any]:
    return {
        "action": action,
        "title": f"{end} {action}s",
        "channel": {"$ref": f"#/channels/{_name(row)}"},
        "bindings": {"mqtt": {"qos": 1, "retain": row.retain, "bindingVersion": "0.2.0"}},
    }


def written(root: Path) -> dict[Path, str]:
    """Every generated page below the folder of the project, with what it should hold."""
    architecture = root / "ARCHITECTURE.md"
    return {
        architecture: with_blocks(architecture.read_text()),
        root / "docs" / "asyncapi.json": json.dumps(asyncapi(), indent=2, sort_keys=True, ensure_ascii=False) + "\n",
    }


def main() -> None:
    """Write the pages; the project's folder is the argument, or the present one."""
    for path, text in written(Path(sys.argv[1] if len(sys.argv) > 1 else ".")).items():
        if not path.exists() or path.read_text() != text:
            path.write_text(text)
            print(f"wrote {path}")


if __name__ == "__main__":
    main()
