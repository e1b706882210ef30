"""``python -m spinney_node.purge``: end and remove every instance on this machine, with the node's own settings.

For taking a machine out of service, or a local stack down, while no node process runs. It goes through the drivers, so
networks and published ports are given back as in a normal end.
"""

from __future__ import annotations

import asyncio
import logging

from spinney_shared.running import main as run_service

from .app import load_drivers
from .config import NodeSettings
from .drivers import Driver, DriverError

log = logging.getLogger(__name__)


async def purge(settings: NodeSettings) -> None:
    """Remove all instances of all drivers that the settings name; what cannot be removed is logged."""
    for name, driver in load_drivers(settings).items():
        try:
            await _purge_driver(name, driver)
        finally:
            await driver.close()


async def _purge_driver(name: str, driver: Driver) -> None:
    try:
        handles = await driver.list()
    except DriverError as error:
        log.error("%s: its instances cannot be listed: %s", name, error)
        return
    results = await asyncio.gather(*(driver.remove(handle.id) for handle in handles), return_exceptions=True)
    for handle, result in zip(handles, results, strict=True):
        if isinstance(result, DriverError):
            log.error("%s: %s cannot be removed: %s", name, handle.key, result)
        elif isinstance(result, BaseException):
            raise result


def main() -> None:
    """Entry point."""
    run_service("spinney-node", NodeSettings, purge)


if __name__ == "__main__":
    main()
