"""Which runtimes this machine's containerd can really run: discovered, then verified by a canary each."""

from __future__ import annotations

from .candidates import Verdict
from .engine import Engine


async def fingerprint(engine: Engine) -> list[Verdict]:
    """A verdict for every candidate; raises EngineUnavailable."""
    raise NotImplementedError
