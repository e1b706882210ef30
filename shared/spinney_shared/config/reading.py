"""Reads settings for a struct type, and says exactly what is wrong with them.

A wrong setting that is silently ignored costs an operator hours. So every name must be known, every value must fit its
type, and an error says which setting, where it came from, what it was (unless secret) and what would do.

The environment variable ``PREFIX__MQTT__HOST`` sets the field ``mqtt.host``; ``PREFIX__MQTT__PASSWORD_FILE`` names a
file whose content is ``mqtt.password``. Lists are written with commas, nested things as JSON.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Struct

from .secret import Secret

SECRET_FILE_LIMIT = 64 * 1024
"""Bytes; whoever names a larger file means another one."""

T = TypeVar("T", bound=Struct)
Where = tuple[str, ...]
"""The names that lead to a setting."""


class ConfigError(Exception):
    """Settings that cannot be used; `problems` says all that is known to be wrong, one sentence each."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(self.problems))


def load(settings_type: type[T], prefix: str, path: Path | None, environ: Mapping[str, str]) -> T:
    """The settings: defaults, overridden by the TOML file `path`, overridden by `environ`. Raises ConfigError."""
    tree: dict[str, Any] = _read_toml(path) if path is not None else {}
    problems = list(_unknown_names(tree, settings_type, (), str(path)))
    sources: dict[Where, str] = {}
    for name in sorted(environ):
        if name.startswith(f"{prefix}__"):
            try:
                where, value = _from_environment(settings_type, prefix, name, environ)
            except ConfigError as error:
                problems += error.problems
                continue
            _put(tree, where, value)
            sources[where] = name
    if problems:
        raise ConfigError(problems)
    try:
        return msgspec.convert(tree, settings_type, dec_hook=_hook)
    except msgspec.ValidationError as error:
        raise ConfigError([_explain(error, tree, settings_type, sources, path, prefix)]) from None


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text())
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError([f"the configuration file {path} cannot be read: {error}"]) from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError([f"the configuration file {path} is not TOML: {error}"]) from None


def _unknown_names(tree: object, hint: object, where: Where, source: str) -> Iterable[str]:
    """A sentence for every name in a parsed file that no struct has."""
    struct = _bare(hint)
    if not isinstance(tree, dict) or not _is_struct(struct):
        return
    fields = _fields(struct)
    for name, value in tree.items():
        if name in fields:
            yield from _unknown_names(value, fields[name], (*where, name), source)
        else:
            yield f"{_dotted((*where, name))} in {source} is no setting{_nearest(name, fields)}"


def _from_environment(
    settings_type: type[Struct], prefix: str, variable: str, environ: Mapping[str, str]
) -> tuple[Where, Any]:
    """Which setting a variable sets, and to what. Raises ConfigError."""
    names = variable.removeprefix(f"{prefix}__").lower().split("__")
    text, where, hint = environ[variable], (), settings_type
    for depth, name in enumerate(names):
        struct = _bare(hint)
        if not _is_struct(struct):
            if get_origin(struct) is dict or struct is dict:
                return tuple(names), _as_json_or_text(text)
            raise ConfigError([f"{variable}: {_dotted(where)} is one value and has no {_dotted(names[depth:])}"])
        fields = _fields(struct)
        plain = name.removesuffix("_file")
        if name not in fields and plain in fields and depth == len(names) - 1:
            if variable.removesuffix("_FILE") in environ:
                raise ConfigError([f"{variable} and {variable.removesuffix('_FILE')} are both set; remove one"])
            text, name = _file_content(variable, text), plain
        elif name not in fields:
            raise ConfigError([f"{variable} is no setting{_nearest(name, fields)}"])
        where, hint = (*where, name), fields[name]
    return where, _parse(variable, text, hint)


def _file_content(variable: str, path: str) -> str:
    try:
        with Path(path).open() as file:
            content = file.read(SECRET_FILE_LIMIT + 1)
    except (OSError, ValueError) as error:
        raise ConfigError([f"{variable}: cannot read {path!r}: {error}"]) from None
    if len(content) > SECRET_FILE_LIMIT:
        raise ConfigError([f"{variable}: {path!r} is larger than {SECRET_FILE_LIMIT} bytes"])
    return content.removesuffix("\n")


def _parse(variable: str, text: str, hint: object) -> Any:
    """The text as what the type wants. Raises ConfigError."""
    bare = _bare(hint)
    origin = get_origin(bare) or bare
    try:
        if origin in (bool, int, float):
            return msgspec.convert(text.strip(), origin, strict=False)
        if origin in (list, tuple, set, frozenset) and not text.lstrip().startswith("["):
            items = get_args(bare)
            return [
                _parse(variable, part.strip(), items[0] if items else str) for part in text.split(",") if part.strip()
            ]
        if origin in (list, tuple, set, frozenset, dict) or _is_struct(bare):
            return msgspec.json.decode(text)
    except msgspec.ValidationError:
        raise ConfigError([f"{variable} = {text!r}: expected {_allowed(hint)}"]) from None
    except msgspec.DecodeError as error:
        raise ConfigError([f"{variable}: expected {_allowed(hint)} as JSON: {error}"]) from None
    return text


def _as_json_or_text(text: str) -> Any:
    """For a place without a type: numbers, lists and the like as JSON, anything else as it stands."""
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text


def _put(tree: dict[str, Any], where: Where, value: object) -> None:
    """Set one leaf; what is in the way and no table is replaced, for the environment wins."""
    for name in where[:-1]:
        if not isinstance(tree.get(name), dict):
            tree[name] = {}
        tree = tree[name]
    tree[where[-1]] = value


def _hook(wanted: type, value: object) -> object:
    """Makes the types that msgspec does not know."""
    if wanted in (Secret, Path) and isinstance(value, str):
        return wanted(value)
    raise TypeError("Expected `str`")


def _explain(
    error: msgspec.ValidationError,
    tree: Mapping[str, Any],
    settings_type: type[Struct],
    sources: Mapping[Where, str],
    path: Path | None,
    prefix: str,
) -> str:
    """What msgspec found, in the words of whoever wrote the settings."""
    message, _, at = str(error).partition(" - at `$")
    where = tuple(re.findall(r"[^.\[\]`]+", at))
    value: Any = tree
    hint: object = settings_type
    for name in where:
        bare = _bare(hint)
        inside = [part for part in get_args(bare) if part is not Ellipsis] or [Any]
        hint = _fields(bare).get(name, Any) if _is_struct(bare) else inside[-1]
        if isinstance(value, list) and name.isdigit():
            value = value[int(name)]
        else:
            value = value.get(name) if isinstance(value, dict) else None
    owners = [name for length in range(len(where), 0, -1) if (name := sources.get(where[:length]))]
    source = owners[0] if owners else f"{_dotted(where) or 'the settings'}" + (f" in {path}" if path else "")
    missing = re.match(r"Object missing required field `(.+)`", message)
    if missing:
        where = (*where, missing[1])
        return f"{_dotted(where)} must be set, as {'__'.join((prefix, *where)).upper()} or in a file"
    showable = isinstance(value, (str, int, float)) and _bare(hint) is not Secret and not _is_struct(_bare(hint))
    shown = f" = {value!r}" if showable else ""
    return f"{source}{shown}: expected {_allowed(hint)}: {message}"


def _allowed(hint: object) -> str:
    """What a setting may be, in words."""
    bare = _bare(hint)
    origin = get_origin(bare) or bare
    if origin is Literal:
        return "one of " + ", ".join(str(value) for value in get_args(bare))
    words = {bool: "true or false", int: "a whole number", float: "a number", Path: "a path"}
    words |= {str: "a text", Secret: "a text"}
    if _is_struct(bare):
        return "a table of " + ", ".join(_fields(bare))
    return words.get(origin, "a list" if origin in (list, tuple, set, frozenset) else "a table")


def _nearest(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f": did you mean {near[0]}?" if near else f"; known here: {', '.join(known)}"


def _dotted(where: Iterable[str]) -> str:
    return ".".join(where)


def _bare(hint: object) -> Any:
    """The type without its annotations and without None."""
    while True:
        if get_origin(hint) is Annotated:
            hint = get_args(hint)[0]
        elif get_origin(hint) in (Union, UnionType):
            hint = next(part for part in get_args(hint) if part is not NoneType)
        else:
            return hint


def _is_struct(hint: object) -> bool:
    return isinstance(hint, type) and issubclass(hint, Struct)


def _fields(struct: type[Struct]) -> dict[str, Any]:
    hints = get_type_hints(struct, include_extras=True)
    return {name: hints[name] for name in struct.__struct_fields__}
