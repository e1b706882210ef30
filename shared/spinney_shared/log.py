"""Logging: one line per event, for people in a terminal or as JSON for a collector.

Fields given as ``extra={"message_id": …, "cause": …}`` come along in both forms. What came from outside cannot forge a
line: control characters are escaped.
"""

from __future__ import annotations

import logging
import sys
import time
from typing import Any, TextIO

import msgspec

from .config import LogSettings

OURS = ("spinney", "spinney_shared", "spinney_root", "spinney_cluster", "spinney_node")
"""Our packages. Libraries stay at ``info`` or above: MongoDB's driver writes whole documents at ``debug``."""

_STANDARD = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName", "color_message"}
_ESCAPES = {code: f"\\x{code:02x}" for code in (*range(32), 127, *range(128, 160))} | {10: "\\n", 9: " "}
_encoder = msgspec.json.Encoder(enc_hook=str)


def set_up(settings: LogSettings, stream: TextIO | None = None) -> None:
    """Send everything to `stream` (standard error by default); calling it again replaces what was set before."""
    level = logging.getLevelNamesMapping()[settings.level.upper()]
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter() if settings.format == "json" else TextFormatter())
    logging.basicConfig(level=max(level, logging.INFO), handlers=[handler], force=True)
    for name in OURS:
        logging.getLogger(name).setLevel(level)
    logging.captureWarnings(True)


class TextFormatter(logging.Formatter):
    """``12:34:56.789 WARNING spinney_node.app: what happened [cause=…]``; a traceback follows on lines of its own."""

    def format(self, record: logging.LogRecord) -> str:
        """One record as text."""
        clock = time.strftime("%H:%M:%S", time.localtime(record.created))
        fields = " ".join(f"{name}={value}" for name, value in _extras(record).items())
        line = f"{clock}.{int(record.msecs):03d} {record.levelname:7} {record.name}: {record.getMessage()}"
        text = (f"{line} [{fields}]" if fields else line).translate(_ESCAPES)
        return f"{text}\n{self.formatException(record.exc_info)}" if record.exc_info else text


class JsonFormatter(logging.Formatter):
    """One JSON object a line: ``at`` (UTC, ISO 8601), ``level``, ``logger``, ``message``, then the extra fields."""

    def format(self, record: logging.LogRecord) -> str:
        """One record as a line of JSON."""
        at = f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(record.created))}.{int(record.msecs):03d}Z"
        line: dict[str, Any] = {
            "at": at,
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return _encoder.encode(_extras(record) | line).decode()


def _extras(record: logging.LogRecord) -> dict[str, Any]:
    return {name: value for name, value in record.__dict__.items() if name not in _STANDARD}
