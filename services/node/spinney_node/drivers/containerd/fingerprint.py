"""Which runtimes this machine's containerd can really run: discovered, then each verified by running the canary on it.

A binary on the search path, a line in a configuration or a device file prove nothing. A runtime counts only after a
real container ran on it to its end, with a network of its own, and showed the kernel that the runtime promises.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import secrets
from collections.abc import AsyncIterator, Mapping
from typing import Final

from msgspec import Struct
from msgspec.structs import replace
from spinney_shared.model import RuntimeInfo

from .. import DriverError, EngineUnavailable, ImageUnavailable
from .canary import ARCHITECTURES, Kernel
from .canary_image import REFERENCE, canary_image
from .candidates import Candidate, Verdict
from .discovery import discover, missing, read_configuration
from .engine import Engine, RunResult
from .hints import hint_for, reason_of
from .judging import DRIVER, isolation_shown, objection, parse_version, with_default
from .known import Known, known, shim_binary
from .process import run
from .survey import programs, read_texts, stamp

CANARY_DEADLINE_S: Final = 10.0
"""Create, network, start, end: a micro-VM without hardware help needs a few seconds; what takes longer is of no use."""

VERSION_DEADLINE_S: Final = 5.0

LOOK_EVERY_S: Final = 10.0
"""How soon a new binary or a changed configuration is noticed: a few dozen file stamps each time."""

AGAIN_AFTER_LOOKS: Final = 30
"""What failed is tried again after so many looks (5 minutes): the machine was too busy, or was mended meanwhile."""

_log = logging.getLogger(__name__)


class _Survey(Struct, frozen=True):
    """What was found on this machine."""

    candidates: tuple[Candidate, ...]
    default: str
    problems: tuple[str, ...]
    programs: Mapping[str, str]
    keys: Mapping[str, object]
    """Candidate → what changes with its program and its configuration."""

    def same_as(self, other: _Survey) -> bool:
        """Whether verifying again would be for nothing."""
        return (self.keys, self.default) == (other.keys, other.default)


class Verifier:
    """Verifies the runtimes of one containerd; remembers what worked until something about it changes."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._settings = engine.settings
        self._worked: dict[object, Verdict] = {}
        self._last: _Survey | None = None
        self._some_failed = False
        self._alone = asyncio.Lock()
        self._host = Kernel(os.uname().release, os.uname().version)

    async def verify(self) -> list[Verdict]:
        """A verdict for every candidate, one after another; raises EngineUnavailable.

        Only successes are remembered: what failed may have been mended anywhere, so it is tried again.
        """
        async with self._alone:
            survey = await asyncio.to_thread(self._survey)
            for problem in survey.problems:
                _log.warning("containerd's configuration: %s", problem)
            await self._engine.prepare()
            verdicts = await self._try_all(survey)
            self._last, self._some_failed = survey, any(v.info.state == "failed" for v in verdicts)
            return with_default(verdicts, survey.default)

    async def changes(self) -> AsyncIterator[str]:
        """For ever, in words: something verified is not what it was (told once), or what failed is worth a new try."""
        for look in itertools.count(1):
            await asyncio.sleep(LOOK_EVERY_S)
            survey = await asyncio.to_thread(self._survey)
            if self._last is not None and not survey.same_as(self._last):
                self._last = survey
                yield "the runtimes' programs or their configuration changed"
            elif self._some_failed and look % AGAIN_AFTER_LOOKS == 0:
                yield "runtimes that failed are to be tried again"

    def _survey(self) -> _Survey:
        texts, unread = read_texts(self._settings.config_path)
        found = read_configuration(texts)
        there = programs(self._settings.search_path)
        candidates = tuple(discover(self._settings.runtimes, found, there))
        keys = {candidate.name: _key(candidate, there) for candidate in candidates}
        return _Survey(candidates, found.default, (*unread, *found.problems), there, keys)

    async def _try_all(self, survey: _Survey) -> list[Verdict]:
        containerd = await asyncio.to_thread(stamp, self._settings.socket)  # new when it was started anew
        keys = {name: (key, containerd) for name, key in survey.keys.items()}
        self._worked = {key: verdict for key, verdict in self._worked.items() if key in keys.values()}
        if all(key in self._worked for key in keys.values()):
            return [self._worked[keys[c.name]] for c in survey.candidates]
        await self._import_canary()
        try:
            return [await self._remembered(c, keys[c.name], survey.programs) for c in survey.candidates]
        finally:
            await self._engine.images.remove(REFERENCE)

    async def _import_canary(self) -> None:
        if self._engine.images.arch not in ARCHITECTURES:
            return
        image = canary_image(self._engine.images.arch)
        try:
            await self._engine.images.import_image(image.reference, image.blobs, image.manifest_digest)
        except ImageUnavailable as error:
            raise EngineUnavailable(f"containerd does not take the canary's image: {error}") from error

    async def _remembered(self, candidate: Candidate, key: object, programs: Mapping[str, str]) -> Verdict:
        if key not in self._worked:
            verdict = await self._verdict(candidate, programs)
            if verdict.info.state != "verified":
                return verdict
            self._worked[key] = verdict
        return self._worked[key]

    async def _verdict(self, candidate: Candidate, programs: Mapping[str, str]) -> Verdict:
        what = known(candidate.name, candidate.binary, candidate.runtime_type)
        base = RuntimeInfo(
            name=candidate.name,
            driver=DRIVER,
            state="failed",
            kind=what.kind,
            version=await self._version(candidate, what, programs),
            isolation=what.isolation,
            image_flavours=what.image_flavours,
            source=candidate.source,
        )
        result = missing(candidate, programs) or await self._canary(candidate)
        if isinstance(result, RunResult):
            why = objection(what, result.exit_code, result.output, self._host)
            if not why:
                isolation = isolation_shown(what, result.output, self._host)
                start_ms = round(result.start_ms, 1)
                return Verdict(candidate, replace(base, state="verified", isolation=isolation, start_ms=start_ms))
            result = why
        return Verdict(candidate, replace(base, reason=result, hint=hint_for(result)))

    async def _canary(self, candidate: Candidate) -> RunResult | str:
        """What the canary did on it, or why it could not be run."""
        if self._engine.images.arch not in ARCHITECTURES:
            return f"there is no canary for processors of type {self._engine.images.arch}"
        id = f"canary-{secrets.token_hex(6)}"
        try:
            return await self._engine.run_once(candidate, REFERENCE, id=id, deadline_s=CANARY_DEADLINE_S)
        except EngineUnavailable:
            raise
        except DriverError as error:
            return reason_of(str(error))

    async def _version(self, candidate: Candidate, what: Known, programs: Mapping[str, str]) -> str:
        """What the binary says of itself; empty when it says nothing in time."""
        name = "runc" if candidate.like_runc else what.version_of
        binary = candidate.binary or programs.get(name, "")
        if not binary.startswith("/"):
            return ""
        try:
            async with asyncio.timeout(VERSION_DEADLINE_S):
                done = await run((binary, "--version"), environment={"PATH": self._settings.search_path})
        except (DriverError, TimeoutError) as error:
            _log.info("%s --version: %s", binary, error)
            return ""
        return parse_version(done.out.decode(errors="replace"))


def _key(candidate: Candidate, programs: Mapping[str, str]) -> object:
    """Changes with everything on this machine's disk that a success depends on."""
    shim = programs.get(shim_binary(candidate.runtime_type), "")
    binary = candidate.binary or programs.get("runc", "")
    return candidate, tuple(stamp(path) for path in (binary, shim, candidate.options.config_path) if path)
