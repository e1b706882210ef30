"""Waiting until services run: what counts as done, as hopeless, and as still under way."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence

from .client import Client
from .errors import CommandError
from .render import progress_words
from .shapes import Service

LOOK_EVERY_S = 0.1
PATIENCE_S = 10.0
"""How long instances may find no machine before the wait ends: nodes come back within seconds, or not soon."""

_DONE = frozenset({"RUNNING", "COMPLETED"})
_ON_THE_WAY = frozenset({"REQUESTED", "CLUSTER_SCHEDULED", "NODE_SCHEDULED", "CREATING", "CREATED", "FAILED"})


def is_done(service: Service) -> bool:
    """Whether every wanted instance runs, or ended well."""
    return len(service.instances) == service.replicas and all(one.status in _DONE for one in service.instances)


def is_hopeless(service: Service) -> bool:
    """Whether the node gave up starting an instance."""
    return any(one.status == "DEAD" for one in service.instances)


def is_stuck(service: Service) -> bool:
    """Whether an instance has no machine that could take it."""
    return any(one.status not in _DONE | _ON_THE_WAY for one in service.instances)


def words(services: Sequence[Service]) -> str:
    """How far these are, in one line."""
    return "; ".join(f"{one.name}: {progress_words(one)}" for one in services)


def why_not(services: Sequence[Service]) -> str:
    """What keeps these from running, one line for each reason."""
    reasons = Counter(
        f"{service.job_name}: {one.status}: {one.detail or 'no reason known yet'}"
        for service in services
        for one in service.instances
        if one.status not in _DONE
    )
    return "\n".join(f"  {count} of {reason}" for reason, count in reasons.items())


def until_running(
    client: Client,
    ids: Sequence[str],
    show: Callable[[str], None],
    limit_s: float,
    now: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> list[Service]:
    """Wait until these services run; `show` is told how far they are. Raises CommandError when they do not."""
    begun = went_well = now()
    while True:
        services = [client.get(f"/api/service/{id}", Service) for id in ids]
        if all(is_done(one) for one in services):
            return services
        show(words(services))
        went_well = went_well if any(is_stuck(one) for one in services) else now()
        hopeless = any(is_hopeless(one) for one in services) or now() - went_well > PATIENCE_S
        if hopeless or now() - begun > limit_s:
            raise CommandError(
                f"accepted, but not everything runs:\n{why_not(services)}\n"
                "It stays wanted and starts when it can: see `spinney apps`, `spinney runtimes`, `spinney logs`."
            )
        sleep(LOOK_EVERY_S)
