"""Every MQTT topic, declared once: its pattern, its message type, whether it is retained, who says it to whom.

A literal label stands before every name (``…/cluster/{cluster}/node/{node}/report``), so that a topic can be read and
matched without guessing. The table in ARCHITECTURE.md is generated from `ALL`, and a test fails when they drift.
"""

from __future__ import annotations

import functools
import re
from typing import Final

from msgspec import Struct

from . import messages as m

ROOT: Final = "spinney/v1"

NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
"""What may stand for a ``{name}`` in a topic: no slash, no wildcard, bounded."""

_LABEL: Final = re.compile(r"{(\w+)}")


@functools.cache
def _words(pattern: str) -> tuple[str, ...]:
    return tuple(f"{ROOT}/{pattern}".split("/"))


class BadName(ValueError):
    """A cluster's or node's name cannot stand in a topic."""

    def __init__(self, label: str, value: str) -> None:
        rule = "use 1 to 64 letters, digits, dots, dashes or underscores, the first one a letter or digit"
        super().__init__(f"{label} {value[:80]!r}: {rule}")


class Topic(Struct, frozen=True):
    """One row of the table."""

    pattern: str
    """Below `ROOT`, with ``{label}`` for each name."""
    type: type | None
    """The message's type; None = a document of a user's (JSON of any shape, checked where it is handled)."""
    retain: bool
    sender: str
    receiver: str
    about: str

    def format(self, **names: str) -> str:
        """The topic for these names; raises BadName for a name that cannot stand in a topic."""
        for label, value in names.items():
            if not NAME.fullmatch(value):
                raise BadName(label, value)
        return f"{ROOT}/{self.pattern.format(**names)}"

    def filter(self, **names: str) -> str:
        """The subscription filter: names that are not given match anything."""
        return f"{ROOT}/{_LABEL.sub(lambda label: names.get(label[1], '+'), self.pattern)}"

    def match(self, topic: str) -> dict[str, str] | None:
        """The names in `topic` when it is this row's, else None; a name that `format` would refuse is no match."""
        words, parts = _words(self.pattern), topic.split("/")
        if len(words) != len(parts):
            return None
        names = {}
        for word, part in zip(words, parts, strict=True):
            if word.startswith("{"):
                if not NAME.fullmatch(part):
                    return None
                names[word[1:-1]] = part
            elif word != part:
                return None
        return names


_CLUSTER: Final = "cluster/{cluster}"
_NODE: Final = "cluster/{cluster}/node/{node}"

DEPLOY: Final = Topic("events/deploy", None, False, "anyone", "root", "an SLA v2.0 document, bare or as a CloudEvent")
UNDEPLOY: Final = Topic("events/undeploy", None, False, "anyone", "root", "which application or microservice to end")
SCALE: Final = Topic("events/scale", None, False, "anyone", "root", "which microservice, how many replicas")
RESULT: Final = Topic(
    "events/result/{event}", m.EventResult, False, "root", "the event's sender", "accepted or rejected"
)
OUT: Final = Topic(
    "events/out/{subject}", m.CloudEvent, False, "root", "anyone", "lifecycle events, by kind of subject"
)

CLUSTER_PRESENCE: Final = Topic(f"{_CLUSTER}/presence", m.Presence, True, "cluster", "root", "is it there (Last Will)")
CLUSTER_ANNOUNCE: Final = Topic(f"{_CLUSTER}/announce", m.ClusterAnnounce, True, "cluster", "root", "who it is")
CLUSTER_DESIRED: Final = Topic(f"{_CLUSTER}/desired", m.Desired, False, "root", "cluster", "what should run")
CLUSTER_REPORT: Final = Topic(f"{_CLUSTER}/report", m.Report, False, "cluster", "root", "what is seen")
CLUSTER_QUERY: Final = Topic(f"{_CLUSTER}/query", m.Query, False, "root", "cluster", "a question (logs)")
CLUSTER_ANSWER: Final = Topic(f"{_CLUSTER}/answer", m.Answer, False, "cluster", "root", "its answer")

NODE_PRESENCE: Final = Topic(f"{_NODE}/presence", m.Presence, True, "node", "cluster", "is it there (Last Will)")
NODE_ANNOUNCE: Final = Topic(f"{_NODE}/announce", m.NodeAnnounce, True, "node", "cluster", "who it is, its runtimes")
NODE_DESIRED: Final = Topic(f"{_NODE}/desired", m.Desired, False, "cluster", "node", "what should run")
NODE_REPORT: Final = Topic(f"{_NODE}/report", m.Report, False, "node", "cluster", "what is seen")
NODE_QUERY: Final = Topic(f"{_NODE}/query", m.Query, False, "cluster", "node", "a question (logs)")
NODE_ANSWER: Final = Topic(f"{_NODE}/answer", m.Answer, False, "node", "cluster", "its answer")

ALL: Final = (
    DEPLOY, UNDEPLOY, SCALE, RESULT, OUT,
    CLUSTER_PRESENCE, CLUSTER_ANNOUNCE, CLUSTER_DESIRED, CLUSTER_REPORT, CLUSTER_QUERY, CLUSTER_ANSWER,
    NODE_PRESENCE, NODE_ANNOUNCE, NODE_DESIRED, NODE_REPORT, NODE_QUERY, NODE_ANSWER,
)  # fmt: skip

_ENDING_IN_A_NAME: Final = tuple(row for row in ALL if row.pattern.endswith("}"))
_BY_LAST_WORD: Final = {
    word: tuple(row for row in ALL if row.pattern.endswith((f"/{word}", "}")))
    for word in {row.pattern.rpartition("/")[2] for row in ALL}
    if not word.endswith("}")
}
"""Every message of a node comes through `find`: looking at a few rows instead of all is worth it."""


def find(topic: str) -> tuple[Topic, dict[str, str]] | None:
    """The row and the names of a topic, or None when it is not one of ours."""
    for row in _BY_LAST_WORD.get(topic.rpartition("/")[2], _ENDING_IN_A_NAME):
        names = row.match(topic)
        if names is not None:
            return row, names
    return None


def table() -> str:
    """`ALL` as a Markdown table."""
    rows = [
        f"| `{ROOT}/{t.pattern}` | {t.type.__name__ if t.type else 'JSON document'} | {'yes' if t.retain else ''} "
        f"| {t.sender} → {t.receiver} | {t.about} |"
        for t in ALL
    ]
    return "\n".join(["| topic | message | retained | direction | about |", "|---|---|---|---|---|", *rows])
