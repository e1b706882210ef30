"""`spinney up` and `spinney down`: keep the local stack running until told to stop; end one from another terminal."""

from __future__ import annotations

import signal
from collections.abc import Awaitable, Callable
from pathlib import Path

import anyio

from .errors import StackError
from .settings import DEFAULT_STATE_DIR
from .stack import Say, Stack, end_stack

_LOOK_EVERY_S = 1.0
_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


async def until_told_to_stop(work: Callable[[], Awaitable[object]]) -> None:
    """Run `work`; Ctrl-C, a SIGTERM or the end of the terminal cancels it, and its clean-up runs before the return.

    Raises the StackError that `work` raised.
    """
    failed: list[StackError] = []
    async with anyio.create_task_group() as group:

        async def stop_at_signal() -> None:
            heeded = [number for number in _STOP_SIGNALS if signal.getsignal(number) != signal.SIG_IGN]  # nohup, &
            with anyio.open_signal_receiver(*heeded) as signals:
                async for _ in signals:
                    group.cancel_scope.cancel()

        group.start_soon(stop_at_signal)
        try:
            await work()
        except StackError as error:
            failed.append(error)
        group.cancel_scope.cancel()
    if failed:
        raise failed[0]


async def up(state_dir: Path = DEFAULT_STATE_DIR, say: Say = print) -> None:
    """Start everything and keep it running; returns after an orderly end. Raises StackError when it cannot start."""

    async def work() -> None:
        async with Stack(state_dir, say) as stack:
            await stack.start()
            say(welcome(stack))
            await keep_running(stack, say)

    await until_told_to_stop(work)
    say("everything of this stack has ended; its state stays in the folder for the next time")


async def down(state_dir: Path = DEFAULT_STATE_DIR, say: Say = print) -> None:
    """End the stack in this folder, whoever started it. Raises StackError."""
    say("the stack has ended" if await end_stack(state_dir) else "nothing to end: no stack runs here")


async def keep_running(stack: Stack, say: Say) -> None:
    """Start again what ends by itself, as a service manager would; say so, with its last words."""
    given_up: set[str] = set()
    while True:
        await anyio.sleep(_LOOK_EVERY_S)
        for name in set(stack.dead()) - given_up:
            say(f"{name} ended by itself; starting it again. Its last words:\n{stack.last_words(name)}")
            try:
                await stack.start_one(name)
            except StackError as error:
                given_up.add(name)
                say(f"{error}\nIt stays down. `make down`, mend the cause, then `make up`.")


def welcome(stack: Stack) -> str:
    """Where everything of a running stack is, for people."""
    lines = [
        "",
        f"REST API   {stack.rest_url}/api/docs  (user {stack.admin}, password in {stack.admin_password_file})",
        f"MQTT       XDG_CONFIG_HOME={stack.folder.client} mosquitto_pub -t spinney/v1/events/deploy -f FILE",
        f"Images     {stack.registry.address}",
        f"Logs       {stack.folder.path / 'logs'}",
        "",
        "Running until Ctrl-C, or `make down` in another terminal.",
    ]
    return "\n".join(lines)
