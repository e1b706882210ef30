"""The member's side: which set it has applied, and what its owner has yet to hear."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from msgspec import Struct

from ..messages import Desired, Observation, Report, Unwanted, Wanted
from ..model import InstanceKey
from .parts import OBSERVATION_BYTES, OBSERVATIONS_BYTES, OBSERVATIONS_PER_PART, chunked


def session_id(counter: int, token: str) -> str:
    """A session's name: sorts by the member's durable start counter, so that a newer session is a greater string."""
    return f"{counter:012d}-{token}"


class Applied(Struct, frozen=True):
    """What a `Desired` means to the member: make it so, persist, then acknowledge."""

    put: tuple[Wanted, ...]
    remove: tuple[Unwanted, ...]
    full: bool
    """`put` is everything: what is not in it should not run."""


class Member:
    """The member's side. ``epoch`` and ``revision`` are durable: the service stores them with the desired set."""

    def __init__(self, session: str = "", epoch: int = 0, revision: int = 0) -> None:
        self.session = session
        self.epoch = epoch
        self.revision = revision
        self.sequence = 0
        self.need_full = False
        self.full_due = True
        """The next report tells everything."""
        self.due = True
        """A report should go out now."""
        self.news: set[InstanceKey] = set()
        self.reported_at = float("-inf")
        self._parts: dict[tuple[int, int, int | None, int], dict[int, Desired]] = {}

    def on_desired(self, desired: Desired) -> Applied | None:
        """Take in what is wanted; returns what to apply, or None when there is nothing (more) to do.

        When it returns something, `epoch` and `revision` already stand at the new values: the caller stores them in
        the same save as the set itself, before the report that acknowledges them goes out.
        """
        if desired.session != self.session or desired.epoch < self.epoch:
            return None
        if desired.need_report:
            self.full_due = self.due = True
        whole = self._assembled(desired)
        if whole is None:
            return None
        base, revision = whole[0].base, whole[0].revision
        if base is None:
            if desired.epoch == self.epoch and revision < self.revision:
                return None
        elif desired.epoch != self.epoch or base > self.revision:
            self.need_full = self.due = True
            return None
        elif revision <= self.revision:
            self.due = True
            return None
        self.epoch, self.revision = desired.epoch, revision
        self.need_full, self.due = False, True
        self._parts.clear()
        return Applied(
            put=tuple(item for part in whole for item in part.put),
            remove=tuple(item for part in whole for item in part.remove),
            full=base is None,
        )

    def _assembled(self, desired: Desired) -> list[Desired] | None:
        if not 0 <= desired.part < desired.parts:
            return None
        if desired.parts == 1:
            return [desired]
        at = (desired.epoch, desired.revision, desired.base, desired.parts)
        if at not in self._parts and len(self._parts) >= 4:
            self._parts.pop(next(iter(self._parts)))  # an abandoned set; its owner says it again
        parts = self._parts.setdefault(at, {})
        parts[desired.part] = desired
        return [parts[n] for n in range(desired.parts)] if len(parts) == desired.parts else None

    def note(self, at: InstanceKey) -> None:
        """Something about this instance is new."""
        self.news.add(at)
        self.due = True

    def reconnected(self) -> None:
        """What was said before may be lost: tell everything."""
        self.full_due = self.due = True

    def flush(
        self,
        now: float,
        every_s: float,
        observe: Callable[[InstanceKey], Observation | None],
        known: Callable[[], Iterable[InstanceKey]],
        new_id: Callable[[], str],
        cause: str = "",
        least: int = 1,
    ) -> list[Report]:
        """The report that is due now, in `least` parts or more, or nothing.

        `observe` of a forgotten instance gives None. The caller may fill in further fields of the parts.
        """
        if not self.due and now - self.reported_at < every_s:
            return []
        keys = sorted(known() if self.full_due else self.news)
        seen = [o for at in keys if (o := observe(at)) is not None]
        chunks = chunked(seen, OBSERVATIONS_PER_PART, OBSERVATIONS_BYTES, OBSERVATION_BYTES)
        chunks += [[]] * (max(least, 1) - len(chunks))
        reports = []
        for number, chunk in enumerate(chunks):
            self.sequence += 1
            reports.append(
                Report(
                    id=new_id(),
                    cause=cause,
                    session=self.session,
                    sequence=self.sequence,
                    epoch=self.epoch,
                    revision=self.revision,
                    full=self.full_due,
                    need_full=self.need_full,
                    part=number,
                    parts=len(chunks),
                    observations=tuple(chunk),
                )
            )
        self.full_due = self.due = self.need_full = False
        self.news = set()
        self.reported_at = now
        return reports
