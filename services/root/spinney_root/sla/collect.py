"""Finding everything that is wrong with a document at once.

msgspec reports only the first error; a person with ten mistakes would need ten attempts. `problems` walks a decoded
JSON value and the msgspec description of its type side by side. Beyond the shape, a type may carry a check of its own:
``Annotated[str, Meta(extra={"check": function})]``; it gets a value of the right shape and yields what is wrong.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Callable, Iterator
from functools import cache
from itertools import islice
from typing import Any, Final, TypeVar

import msgspec
from msgspec import inspect
from spinney_shared.messages import MAX_MESSAGE_BYTES, Problem

MAX_PROBLEMS: Final = 500
"""More than this helps nobody, and the answer must itself fit into one message."""

Check = Callable[[Any], Iterator[tuple[str, str]]]
"""value → (path below the value, what is wrong); for lists ``[3]``, for the value itself the empty path."""

Found = Iterator[Problem]
T = TypeVar("T")

_PLAIN_KEY: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,79}")
_LONGEST_QUOTE: Final = 60
_FEWEST_FOR_GUESS: Final = 2
_LONGEST_FOR_GUESS: Final = 40

_KINDS: Final[dict[type, str]] = {
    type(None): "null",
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
    list: "a list",
    dict: "an object",
}


def decode(raw: bytes, kind: type[T]) -> T | list[Problem]:
    """The document as `kind`, or every problem it has."""
    value = read_json(raw)
    if isinstance(value, Problem):
        return [value]
    found = problems(value, kind)
    return found or msgspec.convert(value, kind)


def read_json(raw: bytes) -> Any | Problem:
    """The decoded JSON, or the one problem that keeps it from being decoded."""
    if len(raw) > MAX_MESSAGE_BYTES:
        return Problem("$", f"the document has {len(raw):,} bytes; at most {MAX_MESSAGE_BYTES:,} are taken")
    try:
        return msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return Problem("$", f"not JSON: {error}")
    except RecursionError:
        return Problem("$", "not taken: nested too deeply")


def problems(value: Any, kind: type) -> list[Problem]:
    """What is wrong with a decoded JSON value that should be a `kind`; empty = nothing, at most `MAX_PROBLEMS` + 1."""
    found = list(islice(_walk(value, _described(kind), "$", ""), MAX_PROBLEMS + 1))
    if len(found) > MAX_PROBLEMS:
        found[-1] = Problem("$", f"more than {MAX_PROBLEMS} problems; only the first ones are listed")
    return found


def quoted(value: str) -> str:
    """Text of a user's as it may stand in an answer: bounded, control characters escaped."""
    return json.dumps(value if len(value) <= _LONGEST_QUOTE else f"{value[:_LONGEST_QUOTE]}…", ensure_ascii=False)


def did_you_mean(word: str, known: list[str]) -> str:
    """``; did you mean "…"?`` with the nearest of `known`, or nothing when none is near."""
    if not _FEWEST_FOR_GUESS <= len(word) <= _LONGEST_FOR_GUESS:
        return ""  # a guess would be random, or cost too much on hostile input
    by_lower = {candidate.lower(): candidate for candidate in known}
    near = difflib.get_close_matches(word.lower(), list(by_lower), n=1)
    return f'; did you mean "{by_lower[near[0]]}"?' if near else ""


@cache
def _described(kind: type) -> inspect.Type:
    return inspect.type_info(kind)


def _walk(value: Any, kind: inspect.Type, path: str, hint: str) -> Found:
    match kind:
        case inspect.Metadata():
            yield from _with_check(value, kind, path)
        case inspect.AnyType() | inspect.RawType():
            return
        case inspect.UnionType():
            yield from _union(value, kind, path, hint)
        case inspect.LiteralType():
            if value not in kind.values:
                yield Problem(path, f"expected {_either([quoted(str(v)) for v in kind.values])}, got {_shown(value)}")
        case _ if not _fits(value, kind):
            yield Problem(path, f"expected {_name(kind)}, got {_shown(value)}")
        case inspect.StructType():
            yield from _struct(value, kind, path)
        case inspect.ListType() | inspect.VarTupleType():
            yield from _list(value, kind, path, hint)
        case inspect.DictType():
            yield from _dict(value, kind, path)
        case inspect.StrType():
            yield from _text(value, kind, path, hint)
        case inspect.IntType() | inspect.FloatType():
            yield from _number(value, kind, path)


def _with_check(value: Any, kind: inspect.Metadata, path: str) -> Found:
    hint = str((kind.extra_json_schema or {}).get("description", ""))
    wrong_shape = False
    for problem in _walk(value, kind.type, path, hint):
        wrong_shape = wrong_shape or problem.path == path
        yield problem
    check: Check | None = (kind.extra or {}).get("check")
    if check and not wrong_shape:
        yield from (Problem(path + below, words) for below, words in check(value))


def _struct(value: dict[str, Any], kind: inspect.StructType, path: str) -> Found:
    fields = {field.encode_name: field for field in kind.fields}
    known = [*fields, kind.tag_field] if kind.tag_field else list(fields)
    if kind.forbid_unknown_fields:
        for key in (key for key in value if key not in known):
            yield Problem(_below(path, key), f"unknown field{did_you_mean(key, known)}")
    for name, field in fields.items():
        if name in value:
            yield from _walk(value[name], field.type, _below(path, name), "")
        elif field.required:
            yield Problem(_below(path, name), "missing")


def _union(value: Any, kind: inspect.UnionType, path: str, hint: str) -> Found:
    tagged = {k.tag: k for k in kind.types if isinstance(k, inspect.StructType) and k.tag is not None}
    if tagged and isinstance(value, dict):
        yield from _tagged(value, tagged, path)
        return
    for member in kind.types:
        if _fits(value, member):
            yield from _walk(value, member, path, hint)
            return
    yield Problem(path, f"expected {_either([_name(member) for member in kind.types])}, got {_shown(value)}")


def _tagged(value: dict[str, Any], members: dict[Any, inspect.StructType], path: str) -> Found:
    field = next(iter(members.values())).tag_field or "type"
    tag, words = value.get(field), [str(known) for known in members]
    if isinstance(tag, str) and tag in members:
        yield from _struct(value, members[tag], path)
    elif field not in value:
        yield Problem(_below(path, field), f"missing; one of {', '.join(words)}")
    else:
        guess = did_you_mean(tag, words) if isinstance(tag, str) else ""
        yield Problem(_below(path, field), f"unknown: {_shown(tag)}; known are {', '.join(words)}{guess}")


def _list(value: list[Any], kind: inspect.ListType | inspect.VarTupleType, path: str, hint: str) -> Found:
    if kind.max_length is not None and len(value) > kind.max_length:
        yield Problem(path, f"has {len(value):,} {hint or 'entries'}; at most {kind.max_length:,} are taken")
    if kind.min_length is not None and len(value) < kind.min_length:
        yield Problem(path, f"has {len(value):,} {hint or 'entries'}; at least {kind.min_length:,} must be given")
    for index, item in enumerate(value[: kind.max_length]):
        yield from _walk(item, kind.item_type, f"{path}[{index}]", "")


def _dict(value: dict[str, Any], kind: inspect.DictType, path: str) -> Found:
    if kind.max_length is not None and len(value) > kind.max_length:
        yield Problem(path, f"has {len(value):,} entries; at most {kind.max_length:,} are taken")
    for key, item in islice(value.items(), kind.max_length):
        yield from _walk(key, kind.key_type, _below(path, key), "")
        yield from _walk(item, kind.value_type, _below(path, key), "")


def _text(value: str, kind: inspect.StrType, path: str, hint: str) -> Found:
    too_long = kind.max_length is not None and len(value) > kind.max_length
    too_short = kind.min_length is not None and len(value) < kind.min_length
    if too_long and not hint:
        yield Problem(path, f"has {len(value):,} characters; at most {kind.max_length:,} are taken")
    elif too_long or too_short or (kind.pattern and not re.search(kind.pattern, value)):
        yield Problem(path, f"{quoted(value)} cannot be used: {hint or 'must not be empty'}")


def _number(value: float, kind: inspect.IntType | inspect.FloatType, path: str) -> Found:
    if kind.ge is not None and value < kind.ge:
        yield Problem(path, f"is {value}; must be at least {kind.ge}")
    elif kind.gt is not None and value <= kind.gt:
        yield Problem(path, f"is {value}; must be more than {kind.gt}")
    elif kind.le is not None and value > kind.le:
        yield Problem(path, f"is {value:.15g}; must be at most {kind.le:,}")


def _fits(value: Any, kind: inspect.Type) -> bool:
    """Whether the JSON kind of the value is right; a bool is no number, a whole number is a number."""
    match kind:
        case inspect.Metadata():
            return _fits(value, kind.type)
        case inspect.StructType() | inspect.DictType():
            return isinstance(value, dict)
        case inspect.ListType() | inspect.VarTupleType():
            return isinstance(value, list)
        case inspect.FloatType():
            return type(value) in (int, float)
        case inspect.IntType():
            return type(value) is int
        case inspect.BoolType():
            return type(value) is bool
        case inspect.StrType():
            return isinstance(value, str)
        case inspect.NoneType():
            return value is None
    raise TypeError(f"documents have no {type(kind).__name__}")


def _name(kind: inspect.Type) -> str:
    match kind:
        case inspect.Metadata():
            return _name(kind.type)
        case inspect.StructType() | inspect.DictType():
            return _KINDS[dict]
        case inspect.ListType() | inspect.VarTupleType():
            return _KINDS[list]
        case inspect.FloatType():
            return _KINDS[float]
        case inspect.IntType():
            return _KINDS[int]
        case inspect.BoolType():
            return _KINDS[bool]
        case inspect.NoneType():
            return _KINDS[type(None)]
    return _KINDS[str]


def _shown(value: Any) -> str:
    kind = _KINDS[type(value)]
    match value:
        case str():
            return f"the text {quoted(value)}"
        case bool():
            return "true" if value else "false"
        case int() | float():
            return f"the number {value:.15g}"
    return kind


def _either(words: list[str]) -> str:
    return " or ".join(words)


def _below(path: str, key: str) -> str:
    return f"{path}.{key}" if _PLAIN_KEY.fullmatch(key) else f"{path}[{quoted(key)}]"
