"""The generated pages say what the code says."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from spinney_shared import lifecycle, topics
from spinney_shared.describe import BLOCKS, UnknownBlock, asyncapi, with_blocks, written

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("path", sorted(written(ROOT)), ids=lambda path: path.name)
def test_pages_are_as_the_code_makes_them(path: Path) -> None:
    assert path.exists(), "run: python -m spinney_shared.describe"
    assert path.read_text() == written(ROOT)[path], f"{path.name} has drifted; run: python -m spinney_shared.describe"


def test_the_architecture_page_has_every_block() -> None:
    page = (ROOT / "ARCHITECTURE.md").read_text()
    assert set(re.findall(r"<!-- generated: (\w+) -->", page)) == set(BLOCKS)
    assert topics.table() in page
    assert lifecycle.diagram() in page


def test_blocks_are_replaced_and_the_rest_is_left_alone() -> None:
    page = "before\n<!-- generated: topics -->\nold\n<!-- end -->\nafter\n"
    assert with_blocks(page) == f"before\n<!-- generated: topics -->\n{topics.table()}\n<!-- end -->\nafter\n"
    assert with_blocks(with_blocks(page)) == with_blocks(page)


def test_a_block_that_does_not_exist_is_named() -> None:
    with pytest.raises(UnknownBlock, match="weather"):
        with_blocks("<!-- generated: weather -->\n<!-- end -->")


def test_every_reference_of_the_asyncapi_document_leads_somewhere() -> None:
    document = asyncapi()
    references = set(re.findall(r'"\$ref": "#/([^"]+)"', json.dumps(document)))
    assert references
    for reference in references:
        place = document
        for word in reference.split("/"):
            place = place[word]
    assert len(document["channels"]) == len(topics.ALL)
    assert len(document["operations"]) == 2 * len(topics.ALL)
