"""Sets and reports in the form messages carry: each specification once, and cut into parts that fit."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

import msgspec
from msgspec import Struct

from ..bounding import fitted, size
from ..messages import Unwanted, Wanted
from ..model import InstanceKey, MicroserviceSpec

PART_BYTES = 160 * 1024
"""Estimated content of one part of a set; well below MAX_MESSAGE_BYTES, for the estimate leaves out the envelope."""

OBSERVATIONS_PER_PART = 150
"""An observation is 150 to 900 bytes (its detail is cut at `DETAIL_LIMIT`)."""

OBSERVATIONS_BYTES = 112 * 1024
"""Of one part of a report; what else a cluster puts into it (`PART_BYTES` less this) must fit beside them."""

OBSERVATION_BYTES = 8 * 1024
"""Of a single one, whatever a node says its names are."""

DETAIL_LIMIT = 500

Part = TypeVar("Part", Wanted, Unwanted)
Item = TypeVar("Item", bound=Struct)


def grouped(
    keys: Iterable[InstanceKey], spec: Callable[[InstanceKey], MicroserviceSpec | None]
) -> tuple[list[Wanted], list[Unwanted]]:
    """Instances in the form a message carries: each specification once, with the numbers of its instances."""
    wanted: dict[tuple[str, int], tuple[MicroserviceSpec, list[int]]] = {}
    unwanted: dict[str, list[int]] = {}
    for at in keys:
        found = spec(at)
        if found is None:
            unwanted.setdefault(at.microservice, []).append(at.number)
        else:
            wanted.setdefault((found.id, found.generation), (found, []))[1].append(at.number)
    return (
        [Wanted(spec=s, numbers=tuple(sorted(numbers))) for s, numbers in wanted.values()],
        [Unwanted(microservice=m, numbers=tuple(sorted(numbers))) for m, numbers in unwanted.items()],
    )


def parted(put: Sequence[Wanted], remove: Sequence[Unwanted]) -> list[tuple[list[Wanted], list[Unwanted]]]:
    """The set cut into parts of about `PART_BYTES`; at least one part, which may be empty."""
    parts: list[tuple[list[Wanted], list[Unwanted]]] = [([], [])]
    size = 0
    for item in (*_short(put), *_short(remove)):
        cost = _estimate(item)
        if size and size + cost > PART_BYTES:
            parts.append(([], []))
            size = 0
        size += cost
        if isinstance(item, Wanted):
            parts[-1][0].append(item)
        else:
            parts[-1][1].append(item)
    return parts


def _estimate(item: Wanted | Unwanted) -> int:
    return 8 * len(item.numbers) + (len(msgspec.json.encode(item.spec)) if isinstance(item, Wanted) else 64)


def _short(items: Sequence[Part]) -> Iterable[Part]:
    """Items with more than 10,000 numbers cut into several, so that no single one fills a message."""
    for item in items:
        for start in range(0, len(item.numbers), 10_000):
            yield msgspec.structs.replace(item, numbers=item.numbers[start : start + 10_000])


def chunked(items: Iterable[Item], most: int, most_bytes: int, item_bytes: int) -> list[list[Item]]:
    """The items in order, in chunks of at most `most` items and `most_bytes` of JSON; larger items are cut to fit."""
    chunks: list[list[Item]] = []
    total = 0
    for item in items:
        cost = size(item)
        if cost > item_bytes:
            item = fitted(item, item_bytes)
            cost = size(item)
        if not chunks or len(chunks[-1]) == most or total + cost > most_bytes:
            chunks.append([])
            total = 0
        chunks[-1].append(item)
        total += cost
    return chunks
