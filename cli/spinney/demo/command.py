"""`spinney demo`: a whole orchestrator on this machine, from nothing to a mended application, in a minute."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import anyio
import anyio.to_thread
import typer
from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from spinney import options
from spinney.client import Client
from spinney.errors import CommandError
from spinney.login import Login
from spinney.options import StateDir
from spinney.output import console
from spinney.place import Place
from spinney.render import instances_table, seconds
from spinney.shapes import Service
from spinney.stack import SERVICES, SUPPORT, Stack, StackError
from spinney.stack.up import keep_running, until_told_to_stop, welcome

from .scenes import Scenes
from .steps import Steps


def demo(
    keep: Annotated[bool, typer.Option("--keep", help="Leave application and stack running until Ctrl-C.")] = False,
    state_dir: StateDir = options.STATE_DIR,
) -> None:
    """Bring everything up, run a small application, break it, see it mended, clean up."""
    out = console()
    told = Performance(state_dir, keep, out)
    try:
        anyio.run(partial(until_told_to_stop, told.perform))
    except StackError as error:
        raise CommandError(str(error)) from error
    if not told.finished:
        raise CommandError("interrupted; everything of this stack has ended")


class Performance:
    """One run of the demonstration; `finished` tells whether it came to its end."""

    def __init__(self, state_dir: Path, keep: bool, out: Console) -> None:
        self._state_dir, self._keep, self._out = state_dir, keep, out
        self.finished = False

    async def perform(self) -> None:
        """Run it. Raises StackError; leaves nothing running, whatever happens."""
        stack = Stack(self._state_dir, self._say)
        logs = stack.folder.path / "logs"
        self._steps = Steps(self._out, logs)
        self._out.print(Text(f"Spinney's demo; its state is in {stack.folder.path}"), soft_wrap=True)
        async with stack:
            await self._start(stack)
            place = Place(stack.rest_url, stack.admin, stack.admin_password_file)
            with Client(place, Login(place, lambda _: None)) as client:
                await self._play(Scenes(stack, client, self._steps), client)
            if self._keep:
                self.finished = True
                self._say(welcome(stack))
                await keep_running(stack, self._say)
            with self._steps.step("Stop everything") as step:
                await stack.stop()
                step.result = f"{len(SUPPORT) + len(SERVICES)} processes ended; the state stays for the next run"
        self._out.print(f"\nAll of it worked, in {seconds(sum(took_s for _, took_s in self._steps.took))}.")
        self.finished = True

    async def _start(self, stack: Stack) -> None:
        with self._steps.step("Start every part as a process of its own") as step:
            await stack.start()
            step.result = f"{len(stack.running())} processes serve"

    async def _play(self, scenes: Scenes, client: Client) -> None:
        for scene in (scenes.nodes, scenes.push_image, scenes.deploy, scenes.run, scenes.fetch):
            await scene()
        await scenes.tables()
        for scene in (scenes.scale, scenes.mend):
            await scene()
        self._out.print()
        self._out.print(instances_table(client.get("/api/services", list[Service])))
        if not self._keep:
            await scenes.undeploy()

    def _say(self, words: str) -> None:
        self._out.print(Padding(Text(words, "dim", overflow="fold"), (0, 0, 0, 3), expand=False))
