"""The demonstration's containers as containerd has them: seen, and killed, behind Spinney's back."""

from __future__ import annotations

import anyio.to_thread

from spinney.stack import Stack, StackError
from spinney.stack.tools import program, run


async def containers(stack: Stack, microservice: str, number: int | None = None) -> list[str]:
    """The ids of the containers of a microservice, or of one instance of it. Raises StackError."""
    wanted = f'labels."spinney.microservice"=={microservice}'
    if number is not None:
        wanted += f',labels."spinney.number"=={number}'
    return (await _ctr(stack, "containers", "ls", "--quiet", wanted)).split()


async def kill(stack: Stack, container: str) -> None:
    """SIGKILL, as the kernel's out-of-memory killer would. Raises StackError."""
    await _ctr(stack, "tasks", "kill", "--signal", "SIGKILL", container)


async def _ctr(stack: Stack, *words: str) -> str:
    where = ["--address", str(stack.containerd.socket), "--namespace", stack.containerd.namespace]
    command = [program("ctr", "containerd"), *where, *words]
    done = await anyio.to_thread.run_sync(run, command)
    if done.returncode != 0:
        raise StackError(f"ctr {' '.join(words)}: {done.stderr.strip()}")
    return done.stdout
