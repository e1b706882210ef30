"""The containerd driver passes the suite that every driver must pass, on a real containerd."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from spinney.stack.registry import Registry
from spinney_node.drivers import Driver, Workload
from spinney_node.drivers.conformance import Connect, DriverConformance
from spinney_node.drivers.containerd import ContainerdDriver

from tests.integration.engine_fixtures import STAY, script


class Scripts:
    def __init__(self, ref: str, registry: str) -> None:
        self.ref, self.registry = ref, registry

    def staying(self) -> Workload:
        return script(self.ref, *STAY)

    def stubborn(self) -> Workload:
        return script(self.ref, "trap '' TERM", "while :; do sleep 1; done")

    def ending(self, exit_code: int) -> Workload:
        return script(self.ref, "sleep 0.3", f"exit {exit_code}")

    def printing(self, line: str) -> Workload:
        return script(self.ref, STAY[0], f"echo '{line}'", STAY[1])

    def without_image(self) -> Workload:
        return script(f"{self.registry}/tests/none:1", *STAY)

    def unknown_runtime(self) -> Workload:
        return script(self.ref, *STAY, runtime="kata")


class TestContainerdDriver(DriverConformance):
    @pytest.fixture
    async def connect(self, runc_settings: dict[str, Any]) -> AsyncIterator[Connect]:
        made: list[ContainerdDriver] = []

        async def connect() -> Driver:
            made.append(ContainerdDriver(runc_settings))
            return made[-1]

        yield connect
        for driver in made:
            await driver.close()

    @pytest.fixture
    def workloads(self, busybox_ref: str, registry: Registry) -> Scripts:
        return Scripts(busybox_ref, registry.address)
