"""Where the root is and whose password opens it: given, else the local stack's, else the usual address."""

from __future__ import annotations

from pathlib import Path

from msgspec import Struct

from .errors import CommandError

DEFAULT_URL = "http://127.0.0.1:10000"
DEFAULT_USER = "Admin"

PORT_FILE = Path("ports", "root")
PASSWORD_FILE = Path("secrets", "admin-password")
"""Both below the local stack's state folder."""


class Place(Struct, frozen=True):
    """A root, and how to log in there."""

    url: str
    user: str = DEFAULT_USER
    password_file: Path | None = None

    def password(self) -> str | None:
        """The password in the file; None when no file is known. Raises CommandError."""
        if self.password_file is None:
            return None
        try:
            return self.password_file.read_text().strip()
        except OSError as error:
            raise CommandError(f"the password file {self.password_file} cannot be read: {error.strerror}") from error


def find(url: str | None, state_dir: Path, user: str | None = None, password_file: Path | None = None) -> Place:
    """The place that these options name. Raises CommandError for an address that is none."""
    local = _local_url(state_dir)
    if url is not None and not url.startswith(("http://", "https://")):
        raise CommandError(f"{url!r} is no address of a root: write http://HOST:PORT")
    found = (url or local or DEFAULT_URL).rstrip("/")
    secret = state_dir / PASSWORD_FILE
    if password_file is None and user in (None, DEFAULT_USER) and found == local and secret.is_file():
        password_file = secret
    return Place(found, user or DEFAULT_USER, password_file)


def _local_url(state_dir: Path) -> str | None:
    """The address of the local stack's root, as it was started last."""
    try:
        return f"http://127.0.0.1:{int((state_dir / PORT_FILE).read_text())}"
    except (OSError, ValueError):
        return None
