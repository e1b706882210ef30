"""Protocol bugs planted on purpose: a simulation that cannot find them proves nothing.

Each replaces one rule of the real code by a plausible mistake. docs/testing.md lists them and the seed that found each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from unittest.mock import patch

from msgspec.structs import replace
from spinney_cluster import state as cluster_state
from spinney_root import carry_out
from spinney_root.state import Answered
from spinney_shared.sync import Member, Owner


def _no_epoch_check() -> object:
    real = Member.on_desired

    def on_desired(self, desired):
        return real(self, replace(desired, epoch=max(desired.epoch, self.epoch)))

    return patch.object(Member, "on_desired", on_desired)


def _any_base_will_do() -> object:
    real = Member.on_desired

    def on_desired(self, desired):
        if desired.base is not None:
            desired = replace(desired, base=min(desired.base, self.revision), epoch=max(desired.epoch, self.epoch))
        return real(self, desired)

    return patch.object(Member, "on_desired", on_desired)


def _acknowledge_what_was_not_applied() -> object:
    real = Member.on_desired

    def on_desired(self, desired):
        applied = real(self, desired)
        if applied is None and desired.session == self.session and desired.revision > self.revision:
            self.epoch, self.revision, self.need_full = desired.epoch, desired.revision, False
        return applied

    return patch.object(Member, "on_desired", on_desired)


def _never_say_it_again() -> object:
    real = Owner.on_report

    def on_report(self, member, report, now):
        before = set(self.dirty)
        seen = real(self, member, report, now)
        self.dirty = before
        return seen

    return patch.object(Owner, "on_report", on_report)


def _late_reports_count() -> object:
    real = Owner.on_report

    def on_report(self, member, report, now):
        peer = self.peer(member)
        if report.session == peer.session:
            peer.sequence = min(peer.sequence, report.sequence - 1)
        return real(self, member, report, now)

    return patch.object(Owner, "on_report", on_report)


def _gaps_in_reports_do_not_matter() -> object:
    real = Owner.on_report

    def on_report(self, member, report, now):
        seen = real(self, member, report, now)
        self.peer(member).need_report = False
        return seen

    return patch.object(Owner, "on_report", on_report)


def _what_leaves_takes_no_room() -> object:
    real = cluster_state.State.free

    def free(self, node):
        self.live_of(node).leaving.clear()
        return real(self, node)

    return patch.object(cluster_state.State, "free", free)


def _no_answer_twice() -> object:
    return patch.object(carry_out, "Answered", lambda result, at: Answered(replace(result, event=f"{at}"), at))


PLANTED: dict[str, Callable[[], object] | None] = {
    "tell before save": None,  # in tests/simulation/process.py: it is the shell's mistake, not the protocol's
    "no epoch check": _no_epoch_check,
    "any base will do": _any_base_will_do,
    "acknowledge what was not applied": _acknowledge_what_was_not_applied,
    "never say it again": _never_say_it_again,
    "late reports count": _late_reports_count,
    "gaps in reports do not matter": _gaps_in_reports_do_not_matter,
    "what leaves takes no room": _what_leaves_takes_no_room,
    "events are not remembered": _no_answer_twice,
}


@contextmanager
def planted(name: str) -> Iterator[None]:
    """The bug of this name is in the code while the context lasts; an empty name plants none."""
    with ExitStack() as stack:
        make = PLANTED[name] if name else None
        if make is not None:
            stack.enter_context(make())  # type: ignore[arg-type]
        yield
