"""Topics: what they match, what may stand in them, and the table made of them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from spinney_shared import topics

NAMES = st.from_regex(topics.NAME, fullmatch=True)


@given(cluster=NAMES, node=NAMES)
def test_what_was_formatted_is_found_again(cluster: str, node: str) -> None:
    for row in topics.ALL:
        labels = {"cluster": cluster, "node": node, "event": node, "subject": cluster}
        names = {label: value for label, value in labels.items() if f"{{{label}}}" in row.pattern}
        assert topics.find(row.format(**names)) == (row, names)


@pytest.mark.parametrize(
    "name",
    ["", "+", "#", "a/b", "a b", "-a", ".", "a\n", "a\x00", "é", "x" * 65, "a+", "$SYS"],
)
def test_hostile_names_are_refused_on_the_way_out_and_match_nothing_on_the_way_in(name: str) -> None:
    with pytest.raises(topics.BadName):
        topics.NODE_REPORT.format(cluster="c", node=name)
    assert topics.find(f"{topics.ROOT}/cluster/c/node/{name}/report") is None
    assert topics.find(f"{topics.ROOT}/cluster/{name}/report") is None
    assert topics.find(f"{topics.ROOT}/events/result/{name}") is None


@pytest.mark.parametrize(
    "topic",
    ["", "/", topics.ROOT, f"{topics.ROOT}/", f"/{topics.ROOT}/events/deploy", f"{topics.ROOT}/events/deploy/",
     "spinney/v2/events/deploy", f"{topics.ROOT}/cluster/c/node/n/desired/x", f"{topics.ROOT}/EVENTS/deploy"],
)  # fmt: skip
def test_what_is_not_ours_is_not_found(topic: str) -> None:
    assert topics.find(topic) is None


def test_a_name_that_looks_like_the_last_word_of_another_topic() -> None:
    assert topics.find(f"{topics.ROOT}/events/result/report") == (topics.RESULT, {"event": "report"})


def test_filters_match_any_name_that_is_not_given() -> None:
    assert topics.NODE_REPORT.filter(cluster="c") == "spinney/v1/cluster/c/node/+/report"
    assert topics.CLUSTER_REPORT.filter() == "spinney/v1/cluster/+/report"


def test_every_pattern_has_a_literal_before_every_name_and_is_declared_once() -> None:
    patterns = [row.pattern for row in topics.ALL]
    assert len(set(patterns)) == len(patterns)
    for pattern in patterns:
        words = pattern.split("/")
        assert all(not words[i - 1].startswith("{") for i, word in enumerate(words) if word.startswith("{"))


def test_only_presence_and_announcements_are_retained() -> None:
    retained = {row.pattern.rpartition("/")[2] for row in topics.ALL if row.retain}
    assert retained == {"presence", "announce"}


def test_the_table_has_every_row() -> None:
    table = topics.table()
    assert table.count("\n") == len(topics.ALL) + 1
    assert all(f"`{topics.ROOT}/{row.pattern}`" in table for row in topics.ALL)
