"""Logging in once, for roots other than the local stack's."""

from __future__ import annotations

from spinney import options
from spinney.client import Client
from spinney.errors import CommandError
from spinney.login import Login
from spinney.options import PasswordFile, StateDir, Url, User
from spinney.output import print_all
from spinney.place import find


def login(
    url: Url = None,
    state_dir: StateDir = options.STATE_DIR,
    user: User = None,
    password_file: PasswordFile = None,
) -> None:
    """Log in and keep the login (not the password) for later commands."""
    place = find(url, state_dir, user, password_file)
    session = Login(place, options.ask_password)
    with Client(place, session) as client:
        client.log_in()
    if session.tokens is None:
        raise CommandError(f"{place.url} gave no token")
    options.kept_logins().put(place, session.tokens)
    print_all([f"logged in at {place.url} as {place.user}"])
