"""Layers become snapshots: each is applied on top of the one below and named by its chain id."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from .. import ImageUnavailable
from .api import AlreadyThere, Api, NotThere
from .content import Content
from .manifest import Descriptor, Manifest, chain_ids
from .pb import diff_pb2, snapshots_pb2, types_pb2

APPLY_TIMEOUT_S: Final = 600.0
"""Unpacking a layer of gigabytes onto a slow card takes minutes."""


class Unpacker:
    """Makes the snapshots of images with one snapshotter."""

    def __init__(self, api: Api, content: Content, snapshotter: str) -> None:
        self._api, self._content, self._snapshotter = api, content, snapshotter

    async def has(self, name: str) -> bool:
        """Is there a committed snapshot of that chain id?"""
        request = snapshots_pb2.StatSnapshotRequest(snapshotter=self._snapshotter, key=name)
        try:
            await self._api.call("snapshots.v1.Snapshots/Stat", request, snapshots_pb2.StatSnapshotResponse)
        except NotThere:
            return False
        return True

    async def unpack(self, name: str, manifest: Manifest, diff_ids: Sequence[str], lease: str) -> None:
        """Make what snapshots are missing, and tie the last one to the image's config, so that it stays."""
        parent = ""
        for layer, diff_id, chain_id in zip(manifest.layers, diff_ids, chain_ids(diff_ids), strict=True):
            if not await self.has(chain_id):
                await self._layer(name, layer, diff_id, chain_id, parent, lease)
            parent = chain_id
        if parent:
            label = f"containerd.io/gc.ref.snapshot.{self._snapshotter}"
            await self._content.label(manifest.config.digest, {label: parent})

    async def _layer(self, name: str, layer: Descriptor, diff_id: str, chain_id: str, parent: str, lease: str) -> None:
        key = f"extract-{uuid.uuid4().hex} {chain_id}"
        prepare = snapshots_pb2.PrepareSnapshotRequest(snapshotter=self._snapshotter, key=key, parent=parent)
        prepared = await self._api.call(
            "snapshots.v1.Snapshots/Prepare", prepare, snapshots_pb2.PrepareSnapshotResponse, lease=lease
        )
        try:
            blob = types_pb2.Descriptor(media_type=layer.media_type, digest=layer.digest, size=layer.size)
            request = diff_pb2.ApplyRequest(diff=blob, mounts=prepared.mounts)
            applied = await self._api.call(
                "diff.v1.Diff/Apply", request, diff_pb2.ApplyResponse, timeout_s=APPLY_TIMEOUT_S, lease=lease
            )
            if applied.applied.digest != diff_id:
                raise ImageUnavailable(f"{name} is damaged: layer {layer.digest} is not what its config says")
            commit = snapshots_pb2.CommitSnapshotRequest(snapshotter=self._snapshotter, name=chain_id, key=key)
            await self._api.tell("snapshots.v1.Snapshots/Commit", commit, lease=lease)
        except BaseException as e:
            with suppress(NotThere):
                remove = snapshots_pb2.RemoveSnapshotRequest(snapshotter=self._snapshotter, key=key)
                await self._api.tell("snapshots.v1.Snapshots/Remove", remove)
            if not isinstance(e, AlreadyThere):  # someone else made the same layer meanwhile: just as good
                raise
