"""Making words and lists from elsewhere fit: into a message, a log line, a database.

What a runtime, an engine or another machine says may be of any length and hold any character. It is people who read it,
so it is cut rather than refused.
"""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec
from msgspec import Struct

T = TypeVar("T", bound=Struct)

_encoder = msgspec.json.Encoder()

_LIMITS = ((500, 100), (300, 40), (100, 20), (40, 10), (20, 4))
"""(characters of a string, items of a collection): tried in this order until the whole is small enough."""


def plain(words: str, longest: int) -> str:
    """At most `longest` characters of `words`, with a blank for everything that cannot be printed, sent or stored."""
    if len(words) > longest:
        words = words[: longest - 1] + "…"
    if words.isprintable():
        return words
    return "".join(letter if letter.isprintable() else " " for letter in words)


def fitted(value: T, most_bytes: int) -> T:
    """The same when its JSON is small enough, else with long strings and collections cut until it is.

    Numbers and the shape stay; a struct of a handful of fields always fits into 8 KiB.
    """
    for longest, most_items in _LIMITS:
        if size(value) <= most_bytes:
            break
        value = _cut(value, longest, most_items)
    return value


def size(value: Any) -> int:
    """Bytes of its JSON; beyond all bounds when it has none."""
    try:
        return len(_encoder.encode(value))
    except UnicodeEncodeError:  # half a character, from the name of a file
        return 1 << 62


def _cut(value: Any, longest: int, most_items: int) -> Any:
    match value:
        case str():
            return plain(value, longest)
        case Struct():
            fields = {name: _cut(getattr(value, name), longest, most_items) for name in value.__struct_fields__}
            return type(value)(**fields)
        case dict():
            kept = list(value.items())[:most_items]
            return {_cut(key, longest, most_items): _cut(item, longest, most_items) for key, item in kept}
        case tuple():
            return tuple(_cut(item, longest, most_items) for item in value[:most_items])
    return value
