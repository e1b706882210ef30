"""How much memory the three processes hold when nothing happens."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from pathlib import Path

from spinney.stack import Stack

from .result import Result, at_most
from .scene import nodes_online, rest, stack

AIMS_MB = {"root": 70.0, "cluster": 60.0, "node": 60.0}
IDLE_S = 30.0


async def measure(say: Callable[[str], None]) -> list[Result]:
    """RSS, which is the aim, and PSS, which shares the libraries' pages among their users."""
    async with stack(("mosquitto", "mongod", "containerd", "registry", "root", "cluster", "node")) as scene:
        for name in AIMS_MB:
            await scene.restart(name)  # the first start after an installation also compiles
        async with rest(scene) as client:
            await nodes_online(client, 1)
        say(f"idle for {IDLE_S:.0f} s")
        await asyncio.sleep(IDLE_S)
        results = []
        for name, limit in AIMS_MB.items():
            rss, pss = _memory_mb(scene, name)
            results += [
                at_most(f"footprint: {name}, RSS", rss, "MB", limit),
                Result(name=f"footprint: {name}, PSS", value=pss, unit="MB"),
            ]
        return results


def _memory_mb(scene: Stack, name: str) -> tuple[float, float]:
    daemon = {"root": scene.root, "cluster": scene.cluster, "node": scene.node}[name]
    who = daemon.process.who
    if who is None:
        raise RuntimeError(f"{name} does not run: {scene.last_words(name)}")
    rollup = Path(f"/proc/{who.pid}/smaps_rollup").read_text()
    kib = {key: int(value) for key, value in re.findall(r"^(Rss|Pss):\s+(\d+) kB", rollup, re.MULTILINE)}
    return kib["Rss"] * 1024 / 1e6, kib["Pss"] * 1024 / 1e6
