"""What the benchmarks say of a figure, and that the README shows what was measured last."""

import msgspec

from bench.__main__ import BENCHMARKS
from bench.result import README, RESULTS, Result, at_least, at_most, compared


def test_a_figure_is_judged_by_its_aim() -> None:
    assert at_most("a", 15.0, "ms", 15.0).met
    assert not at_most("a", 15.1, "ms", 15.0).met
    assert at_least("b", 1500.0, "1/s", 1500.0).met
    assert not at_least("b", 1499.0, "1/s", 1500.0).met
    both = compared("c", 130.0, "ms", "the other", 100.0, 1.3)
    assert (both.ratio, both.met, both.aim) == (1.3, True, "ratio ≤ 1.3")
    assert not compared("c", 131.0, "ms", "the other", 100.0, 1.3).met


def test_the_readme_shows_the_last_results() -> None:
    results = msgspec.json.decode(RESULTS.read_bytes(), type=list[Result])
    shown = [line.split("|")[1].strip() for line in README.read_text().splitlines() if line.startswith("| ")]
    assert shown == ["figure", "---", *(result.name for result in results)]
    assert {result.name.partition(":")[0] for result in results} == set(BENCHMARKS)
