"""Fixtures of the containerd driver's tests, for every test in this folder."""

from tests.integration.engine_fixtures import (
    busybox_image,
    busybox_ref,
    driver,
    engine,
    engine_settings,
    runc_settings,
)

__all__ = ["busybox_image", "busybox_ref", "driver", "engine", "engine_settings", "runc_settings"]
