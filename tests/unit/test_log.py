"""Log lines are one line each, carry their extra fields, and cannot be forged by what came from outside."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest
from spinney_shared.config import LogSettings, Secret
from spinney_shared.log import set_up


@pytest.fixture(autouse=True)
def root_logger_as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    yield
    for handler in root.handlers[:]:
        root.removeHandler(handler)
    for handler in before:
        root.addHandler(handler)
    root.setLevel(level)
    logging.captureWarnings(False)
    for name in ("spinney_node", "spinney_shared"):
        logging.getLogger(name).setLevel(logging.NOTSET)


def test_text_is_one_line_with_its_fields() -> None:
    out = io.StringIO()
    set_up(LogSettings(), out)
    logging.getLogger("spinney_node.app").warning("lost %s", "it\nFAKE \x1b[31mline", extra={"cause": "m\n1"})
    logging.getLogger("spinney_node.app").debug("not shown")
    (line,) = out.getvalue().splitlines()
    assert line.endswith(r"WARNING spinney_node.app: lost it\nFAKE \x1b[31mline [cause=m\n1]")


def test_json_carries_fields_and_tracebacks() -> None:
    out = io.StringIO()
    set_up(LogSettings(format="json", level="debug"), out)
    try:
        raise ValueError("inner")
    except ValueError:
        extra = {"message_id": "m1", "password": Secret("hunter2"), "level": "forged"}
        logging.getLogger("spinney_shared.bus").exception("failed", extra=extra)
    logging.getLogger("pymongo.command").debug("whole documents")
    (line,) = out.getvalue().splitlines()
    entry = json.loads(line)
    assert (entry["level"], entry["logger"], entry["message"]) == ("error", "spinney_shared.bus", "failed")
    assert entry["message_id"] == "m1"
    assert entry["at"].endswith("Z")
    assert "ValueError: inner" in entry["error"]
    assert "hunter2" not in line


def test_our_debug_lines_show_when_asked_for() -> None:
    out = io.StringIO()
    set_up(LogSettings(level="debug"), out)
    logging.getLogger("spinney_node.app").debug("details")
    assert "DEBUG" in out.getvalue()
