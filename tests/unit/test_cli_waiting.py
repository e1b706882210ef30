"""When waiting for services ends: when they run, when they never will, when it takes too long."""

from collections.abc import Iterator
from itertools import count

import pytest
from spinney import waiting
from spinney.errors import CommandError
from spinney.login import Login
from spinney.place import Place
from spinney_root.shapes import ServiceAnswer

from tests.cli_root import PASSWORD, URL, FakeRoot, instance, service


class Story:
    """A root whose one service changes each time somebody sleeps; time is told by the number of sleeps."""

    def __init__(self, *moments: ServiceAnswer) -> None:
        self._root, self._moments = FakeRoot(), [*moments]
        self._clock: Iterator[int] = count()
        self.now = 0.0
        self.said: list[str] = []
        self.sleep(0)

    def sleep(self, _: float) -> None:
        self.now = float(next(self._clock))
        self._root.services = [self._moments.pop(0) if len(self._moments) > 1 else self._moments[0]]

    def wait(self, limit_s: float = 100) -> int:
        """How many instances run in the end. Raises CommandError."""
        place = Place(URL)
        with self._root.client(place, Login(place, lambda _: PASSWORD)) as client:
            ids = ["id-hello-web"]
            found = waiting.until_running(client, ids, self.said.append, limit_s, lambda: self.now, self.sleep)
        return len(found[0].instances)


def test_it_waits_until_all_run_and_says_how_far_they_are() -> None:
    story = Story(
        service(instance(0, "REQUESTED"), instance(1, "REQUESTED")),
        service(instance(0), instance(1, "CREATING", "starting on runc")),
        service(instance(0), instance(1)),
    )
    assert story.wait() == 2
    assert story.said == ["web: 0 of 2 run; 2 REQUESTED", "web: 1 of 2 run; 1 CREATING: starting on runc"]


def test_a_service_without_instances_is_done() -> None:
    assert Story(service()).wait() == 0


def test_a_job_that_ended_well_is_done() -> None:
    assert Story(service(instance(0, "COMPLETED"))).wait() == 1


def test_an_instance_that_is_not_there_yet_is_waited_for() -> None:
    assert Story(service(replicas=1), service(instance(0))).wait() == 1


def test_what_was_given_up_is_not_waited_for() -> None:
    story = Story(service(instance(0, "DEAD", "exit status 1")))
    with pytest.raises(CommandError, match=r"(?s)1 of hello\.demo\.web\.demo: DEAD: exit status 1.*It stays wanted"):
        story.wait()
    assert story.now == 0


def test_no_machine_is_waited_for_a_little_and_a_machine_that_returns_is_enough() -> None:
    nowhere = service(instance(0, "NO_QUALIFIED_WORKER_FOUND", "no node has verified runsc"))
    assert Story(nowhere, nowhere, service(instance(0))).wait() == 1
    story = Story(nowhere)
    with pytest.raises(CommandError, match="no node has verified runsc"):
        story.wait()
    assert waiting.PATIENCE_S < story.now < waiting.PATIENCE_S + 3


def test_patience_begins_anew_after_each_success() -> None:
    nowhere = service(instance(0, "NO_WORKER_CAPACITY"))
    moments = [*[nowhere] * 9, service(instance(0, "CREATING")), *[nowhere] * 9, service(instance(0))]
    assert Story(*moments).wait() == 1


def test_the_limit_ends_the_wait() -> None:
    story = Story(service(instance(0, "CREATING", "pulling")))
    with pytest.raises(CommandError, match="CREATING: pulling"):
        story.wait(limit_s=5)
    assert story.now == 6
