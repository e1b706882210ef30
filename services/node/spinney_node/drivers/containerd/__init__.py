"""The containerd driver: OCI containers on every runtime that containerd can be told to use."""

from .driver import ContainerdDriver

__all__ = ["ContainerdDriver"]
