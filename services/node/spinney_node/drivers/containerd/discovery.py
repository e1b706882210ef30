"""Which runtimes might this containerd be able to use? Everything that looks like one, proven or not.

Three sources, the first to name a runtime wins: the node's own settings, containerd's configuration (any plugin that
holds a table ``containerd.runtimes``: its id changed with every major version, and people shorten it), and the
programs on the search path. Pure: the reading is done by `survey`.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from msgspec import Struct
from msgspec.structs import replace

from .candidates import RUNC_SHIM, Candidate, ShimOptions
from .known import KNOWN, OCI_BINARIES, shim_binary

MAX_RUNTIMES: Final = 32
"""More candidates than any machine has; each costs a canary."""

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")
_SHIM: Final = re.compile(r"containerd-shim-(.+)-v(\d+)")
_RUNC_TYPES: Final = ("", "io.containerd.runc.v1", RUNC_SHIM, "io.containerd.runtime.v1.linux")
"""All that ends in runc's command line; the older ones are gone from containerd 2 and are run by the newest."""
_RESERVED: Final = ("container", "docker", "unikernel", "unikraft")
"""Words that mean "the default one" in an application's document: never a runtime's name."""
_DEEPEST: Final = 12


class RuntimeSetting(Struct, frozen=True, forbid_unknown_fields=True):
    """A runtime that the node's own configuration adds: ``runtimes.NAME``."""

    type: str = ""
    """The shim's type; empty = the runc shim."""
    binary: str = ""
    """Path or name of the OCI binary, for the runc shim; empty = NAME on the search path."""
    systemd_cgroup: bool = False
    options: ShimOptions = ShimOptions()


class Configuration(Struct, frozen=True):
    """What a set of containerd configuration files says of runtimes."""

    candidates: tuple[Candidate, ...] = ()
    default: str = ""
    problems: tuple[str, ...] = ()


def usable_name(name: str) -> bool:
    """Whether a runtime may be called so."""
    return _NAME.fullmatch(name) is not None and name not in _RESERVED


def imports_of(text: str) -> list[str]:
    """The paths and patterns a configuration file imports; raises ValueError when it is not TOML."""
    entries = tomllib.loads(text).get("imports", [])
    return [entry for entry in entries if isinstance(entry, str)] if isinstance(entries, list) else []


def read_configuration(texts: Sequence[tuple[str, str]]) -> Configuration:
    """The runtimes that configuration files name, given as (path, text), the later file winning."""
    found: dict[str, Candidate] = {}
    problems: list[str] = []
    default = ""
    for path, text in texts:
        try:
            document = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            problems.append(f"{path}: not TOML: {error}")
            continue
        for section in _runtime_sections(document.get("plugins"), _DEEPEST):
            default = _text(section, "default_runtime_name") or default
            for name, entry in section["runtimes"].items():
                if usable_name(name) and isinstance(entry, dict):
                    found[name] = _configured(name, entry, path)
                else:
                    problems.append(f"{path}: containerd.runtimes.{name[:64]!r}: not a usable runtime")
    return Configuration(tuple(found.values()), default, tuple(problems))


def discover(
    settings: Mapping[str, RuntimeSetting], configuration: Configuration, programs: Mapping[str, str]
) -> list[Candidate]:
    """Every candidate once, by name; `programs` maps file names on the search path to absolute paths."""
    found: dict[str, Candidate] = {}
    for candidate in (*_from_settings(settings), *configuration.candidates, *_from_programs(programs)):
        found.setdefault(candidate.name, _located(candidate, programs))
    return list(found.values())[:MAX_RUNTIMES]


def missing(candidate: Candidate, programs: Mapping[str, str]) -> str:
    """Why the candidate cannot even be tried, in words; empty when its program is there (or is containerd's choice)."""
    if candidate.like_runc:
        if candidate.binary and not candidate.binary.startswith("/"):
            return f"{candidate.binary}: no such program on the search path"
        return ""
    shim = shim_binary(candidate.runtime_type)
    return "" if shim in programs else f"{shim}: no such program on the search path"


def _runtime_sections(table: object, depth: int) -> Iterator[dict[str, Any]]:
    """Every table called ``containerd`` that holds a table ``runtimes``, wherever it hangs."""
    if not isinstance(table, dict) or depth == 0:
        return
    for key, value in table.items():
        if key == "containerd" and isinstance(value, dict) and isinstance(value.get("runtimes"), dict):
            yield value
        yield from _runtime_sections(value, depth - 1)


def _configured(name: str, entry: dict[str, Any], path: str) -> Candidate:
    raw = entry.get("options")
    options = raw if isinstance(raw, dict) else {}
    runtime_type = _text(entry, "runtime_type")
    source = f"containerd configuration: {path}"
    if runtime_type in _RUNC_TYPES:
        binary = _text(options, "BinaryName") or _text(options, "Runtime") or _text(entry, "runtime_engine")
        systemd = options.get("SystemdCgroup") is True
        return Candidate(name, RUNC_SHIM, binary, systemd, source=source)
    shim = ShimOptions(_text(options, "TypeUrl"), _text(options, "ConfigPath"), _text(options, "ConfigBody"))
    return Candidate(name, runtime_type, options=shim, source=source)


def _from_settings(settings: Mapping[str, RuntimeSetting]) -> Iterator[Candidate]:
    for name, told in settings.items():
        runc = told.type in _RUNC_TYPES
        yield Candidate(
            name,
            RUNC_SHIM if runc else told.type,
            (told.binary or name) if runc else told.binary,
            told.systemd_cgroup,
            told.options,
            "the node's settings",
        )


def _from_programs(programs: Mapping[str, str]) -> Iterator[Candidate]:
    for program, path in sorted(programs.items()):
        match = _SHIM.fullmatch(program)
        if match and match[1] != "runc" and usable_name(match[1]):
            yield Candidate(match[1], f"io.containerd.{match[1]}.v{match[2]}", source=f"PATH: {path}")
    if path := programs.get("containerd-shim-aws-firecracker"):
        yield Candidate("firecracker", "aws.firecracker", source=f"PATH: {path}")
    if path := programs.get("kata-runtime"):
        yield Candidate("kata", KNOWN["kata"].runtime_type, source=f"PATH: {path}")
    for name in OCI_BINARIES:
        if path := programs.get(name):
            yield Candidate(name, RUNC_SHIM, path, source=f"PATH: {path}")


def _located(candidate: Candidate, programs: Mapping[str, str]) -> Candidate:
    """Names of programs become paths; a runtime whose own shim is absent is driven by the runc shim where it can be."""
    if candidate.like_runc:
        binary = programs.get(candidate.binary, candidate.binary)
        return replace(candidate, binary=binary)
    shim = shim_binary(candidate.runtime_type)
    if shim not in programs and candidate.name in OCI_BINARIES and candidate.name in programs:
        source = f"{candidate.source} ({shim} is not there: driven by the runc shim)"
        return Candidate(candidate.name, RUNC_SHIM, programs[candidate.name], source=source)
    return candidate


def _text(table: dict[str, Any], key: str) -> str:
    value = table.get(key)
    return value if isinstance(value, str) else ""
