"""The containerd driver: OCI containers on every runtime that containerd can be told to use."""
