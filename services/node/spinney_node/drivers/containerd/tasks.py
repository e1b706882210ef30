"""The processes of containers: containerd's tasks, with "it is already so" taken as success."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from .. import DriverError, EngineUnavailable
from .api import Api, NotThere, TookTooLong, WrongState
from .pb import process_pb2, tasks_pb2, types_pb2

CREATE_TIMEOUT_S: Final = 60.0
"""A runtime that boots a virtual machine takes seconds on a slow machine."""
KILLED_WITHIN_S: Final = 15.0
"""After SIGKILL; longer means that the kernel or the runtime is stuck."""


class Tasks:
    """The tasks of one containerd namespace."""

    def __init__(self, api: Api) -> None:
        self._api = api

    async def create(self, id: str, rootfs: Sequence[types_pb2.Mount], log: str) -> int:
        """Make the container's first process without letting it run; its pid."""
        output = f"file://{log}"
        request = tasks_pb2.CreateTaskRequest(container_id=id, rootfs=rootfs, stdout=output, stderr=output)
        method = "tasks.v1.Tasks/Create"
        answer = await self._api.call(method, request, tasks_pb2.CreateTaskResponse, timeout_s=CREATE_TIMEOUT_S)
        return answer.pid

    async def start(self, id: str) -> None:
        """Let it run."""
        request = tasks_pb2.StartRequest(container_id=id)
        await self._api.call("tasks.v1.Tasks/Start", request, tasks_pb2.StartResponse, timeout_s=CREATE_TIMEOUT_S)

    async def get(self, id: str) -> process_pb2.Process | None:
        """The task as it is now; None when there is none."""
        request = tasks_pb2.GetRequest(container_id=id)
        try:
            return (await self._api.call("tasks.v1.Tasks/Get", request, tasks_pb2.GetResponse)).process
        except NotThere:
            return None

    async def list(self) -> dict[str, process_pb2.Process]:
        """Container id → task."""
        request = tasks_pb2.ListTasksRequest()
        answer = await self._api.call("tasks.v1.Tasks/List", request, tasks_pb2.ListTasksResponse)
        return {task.id: task for task in answer.tasks}

    async def wait(self, id: str, timeout_s: float) -> int:
        """The exit code, once there is one; raises TookTooLong, NotThere."""
        request = tasks_pb2.WaitRequest(container_id=id)
        answer = await self._api.call("tasks.v1.Tasks/Wait", request, tasks_pb2.WaitResponse, timeout_s=timeout_s)
        return answer.exit_status

    async def end(self, id: str, grace_s: float) -> None:
        """SIGTERM, the grace, SIGKILL; returns when it runs no more. Raises DriverError when it will not die."""
        task = await self.get(id)
        if task is None or task.status == process_pb2.STOPPED:
            return
        with suppress(NotThere):
            if grace_s > 0 and task.status != process_pb2.CREATED:  # what never ran cannot heed a signal
                with suppress(TookTooLong):
                    await self._kill(id, signal.SIGTERM)
                    await self.wait(id, grace_s)
                    return
            await self._force(id, task.pid)
            try:
                await self.wait(id, KILLED_WITHIN_S)
            except TookTooLong as e:
                raise DriverError(f"{id} does not end {KILLED_WITHIN_S:g} s after SIGKILL") from e

    async def delete(self, id: str) -> None:
        """Delete an ended task and with it its shim; fine when there is none."""
        with suppress(NotThere):
            request = tasks_pb2.DeleteTaskRequest(container_id=id)
            await self._api.call("tasks.v1.Tasks/Delete", request, tasks_pb2.DeleteResponse)

    async def _force(self, id: str, pid: int) -> None:
        """SIGKILL, by the runtime or past it: gVisor, when its own start failed, refuses to signal what it created."""
        try:
            await self._kill(id, signal.SIGKILL)
        except EngineUnavailable:
            raise
        except DriverError:
            if pid <= 1:
                raise
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    async def _kill(self, id: str, number: signal.Signals) -> None:
        everyone = number is signal.SIGKILL
        request = tasks_pb2.KillRequest(container_id=id, signal=number, all=everyone)
        with suppress(NotThere, WrongState):  # it ended by itself meanwhile
            await self._api.tell("tasks.v1.Tasks/Kill", request)


def exit_words(code: int) -> str:
    """What an exit code says beyond its number: shells and containerd give 128 + the signal's number."""
    if 128 < code <= 128 + signal.SIGRTMAX:
        number = code - 128
        name = signal.Signals(number).name if number in signal.valid_signals() else ""
        return f"killed by signal {number} ({name})" if name else f"killed by signal {number}"
    return ""
