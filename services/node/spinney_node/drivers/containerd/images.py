"""Images in containerd: brought in from a registry or from memory, and unpacked into snapshots."""

from __future__ import annotations

from collections.abc import Mapping


class Images:
    """`Engine.images`."""

    async def import_image(self, ref: str, blobs: Mapping[str, bytes], manifest_digest: str) -> None:
        """Store an image given as its blobs (digest ``sha256:…`` → bytes: manifest, config, layers) under `ref`.

        The same image again costs nothing. Raises ImageUnavailable when a digest or the manifest is wrong.
        """
        raise NotImplementedError

    async def remove(self, ref: str) -> None:
        """Forget `ref`; fine when unknown."""
        raise NotImplementedError
