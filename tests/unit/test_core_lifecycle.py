"""The lifecycle table: every step it has is taken, every other one raises and changes nothing."""

from __future__ import annotations

import itertools

import pytest
from spinney_shared import lifecycle as life

PAIRS = list(itertools.product(life.STEPS, repeat=2))


@pytest.mark.parametrize("before", life.STEPS)
def test_every_step_is_legal_by_the_table_or_raises(before: str) -> None:
    for after in life.STEPS:
        if after == before or after in life.STEPS[before]:
            assert life.advance(before, after) == after
        else:
            with pytest.raises(life.IllegalStep) as raised:
                life.advance(before, after)
            assert (raised.value.before, raised.value.after) == (before, after)


@pytest.mark.parametrize(("before", "seen"), PAIRS)
def test_a_report_may_skip_states_but_never_leaves_undeployed(before: str, seen: str) -> None:
    assert life.observe(before, seen) == (life.UNDEPLOYED if before == life.UNDEPLOYED else seen)


def test_a_status_of_a_newer_release_is_not_taken_over() -> None:
    assert life.observe(life.RUNNING, "HIBERNATING") == life.RUNNING


def test_every_status_is_in_the_table_and_leads_only_into_it() -> None:
    statuses = {value for name, value in vars(life).items() if name.isupper() and isinstance(value, str)}
    assert statuses == set(life.STEPS)
    assert set().union(*life.STEPS.values()) <= statuses


@pytest.mark.parametrize("status", sorted(set(life.STEPS) - {life.UNDEPLOYED}))
def test_everything_can_be_removed_and_everything_can_start_again(status: str) -> None:
    assert life.UNDEPLOYED in life.STEPS[status]
    if status != life.REQUESTED:
        assert life.advance(status, life.REQUESTED) == life.REQUESTED
    if status != life.CLUSTER_SCHEDULED:
        assert life.advance(status, life.CLUSTER_SCHEDULED) == life.CLUSTER_SCHEDULED


def test_what_waits_is_not_final_and_what_ended_needs_no_place() -> None:
    assert not life.UNSCHEDULABLE & life.ENDED
    assert all(life.UNSCHEDULABLE & life.STEPS[status] == set() for status in life.ENDED)


def test_the_diagram_has_every_step_once() -> None:
    lines = life.diagram().splitlines()
    assert lines[:2] == ["stateDiagram-v2", "    [*] --> REQUESTED"]
    assert len(set(lines)) == len(lines)
    assert "    CREATED --> RUNNING" in lines
    assert "    RUNNING --> CREATED" not in lines
    assert not any("NO_WORKER" in line for line in lines)
