"""How every service starts and ends: settings, logging, signals, and the wires between bus and loop."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import NoReturn, TypeVar

from msgspec import Struct

from .bus import Bus, Incoming
from .config import ConfigError, LogSettings, load
from .deciding import Connected, Disconnected
from .log import set_up
from .loop import Loop
from .receiving import Receiver

log = logging.getLogger(__name__)


class ServiceSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the settings of every service have."""

    log: LogSettings = LogSettings()


Settings = TypeVar("Settings", bound=ServiceSettings)

EXIT_BAD_SETTINGS = 2

INBOX_LIMIT = 50_000
"""Messages that may wait while nothing can be saved. Beyond it those of the tiers are dropped, for they are said again;
what users send is kept."""


def main(name: str, settings_type: type[Settings], run: Callable[[Settings], Awaitable[None]]) -> None:
    """Read the settings, run the service until SIGINT or SIGTERM, and exit: 0 when told to, 2 for bad settings."""
    parser = argparse.ArgumentParser(prog=name)
    parser.add_argument("--config", type=Path, help="TOML file with settings; the environment overrides it")
    options = parser.parse_args()
    prefix = name.upper().replace("-", "_")
    try:
        settings = load(settings_type, prefix, options.config, os.environ)
    except ConfigError as error:
        _complain(name, error)
    set_up(settings.log)
    try:
        asyncio.run(_until_told(name, run(settings)))
    except ConfigError as error:  # what only shows when the parts are put together
        _complain(name, error)


def _complain(name: str, error: ConfigError) -> NoReturn:
    for problem in error.problems:
        print(f"{name}: {problem}", file=sys.stderr)
    sys.exit(EXIT_BAD_SETTINGS)


async def _until_told(name: str, service: Awaitable[None]) -> None:
    task = asyncio.ensure_future(service)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, task.cancel)
    try:
        await task
    except asyncio.CancelledError:
        log.info("%s ends as told", name)


def wire(bus: Bus, loop: Loop) -> Receiver:
    """Let the loop hear the bus: messages, and whether it is there."""
    receiver = Receiver()

    def heard(incoming: Incoming) -> None:
        received = receiver.receive(incoming)
        if received is None:
            return
        if received.topic.type is not None and len(loop.inbox) >= INBOX_LIMIT:
            receiver.dropped["waiting for the store"] += 1
            return
        loop.inbox.put(received)

    def lost(why: str) -> None:
        log.warning("the broker is out of reach: %s", why)
        loop.inbox.put(Disconnected())

    bus.on_message = heard
    bus.on_connect = lambda: loop.inbox.put(Connected())
    bus.on_disconnect = lost
    return receiver
