"""The options that several commands share, so that they read the same everywhere."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from .client import Client
from .login import KeptLogins, Login
from .place import DEFAULT_USER, Place, find

STATE_DIR = Path(".spinney")

Url = Annotated[
    str | None,
    typer.Option(
        "--url",
        envvar="SPINNEY_URL",
        help="The root's address.",
        show_default="the local stack",
    ),
]
StateDir = Annotated[
    Path,
    typer.Option("--state-dir", envvar="SPINNEY_STATE_DIR", help="The local stack's folder.", file_okay=False),
]
User = Annotated[
    str | None,
    typer.Option("--user", envvar="SPINNEY_USER", help="Who logs in.", show_default=DEFAULT_USER),
]
PasswordFile = Annotated[
    Path | None,
    typer.Option(
        "--password-file",
        envvar="SPINNEY_PASSWORD_FILE",
        help="A file with the password.",
        show_default="the local stack's, or ask",
        dir_okay=False,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="JSON for programs, as the REST API answers it.")]


def kept_logins() -> KeptLogins:
    """Where `spinney login` keeps tokens."""
    return KeptLogins(Path(typer.get_app_dir("spinney")) / "logins.json")


def connect(url: str | None, state_dir: Path, user: str | None, password_file: Path | None) -> Client:
    """A client for the root that the options name. Raises CommandError."""
    place = find(url, state_dir, user, password_file)
    kept = kept_logins().get(place) if place.password_file is None else None
    return Client(place, Login(place, ask_password, kept))


def ask_password(place: Place) -> str | None:
    """Ask the person at the terminal; None when there is none."""
    if not sys.stdin.isatty():
        return None
    return typer.prompt(f"Password of {place.user} at {place.url}", hide_input=True, err=True)
