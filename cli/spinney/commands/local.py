"""The local stack: up and down."""

from __future__ import annotations

from functools import partial

import anyio

from spinney import options
from spinney.errors import CommandError
from spinney.options import StateDir
from spinney.output import console
from spinney.stack import StackError
from spinney.stack.up import down as end
from spinney.stack.up import up as run


def up(state_dir: StateDir = options.STATE_DIR) -> None:
    """Start the local stack and keep it running until Ctrl-C."""
    try:
        anyio.run(partial(run, state_dir, _say))
    except StackError as error:
        raise CommandError(str(error)) from error


def down(state_dir: StateDir = options.STATE_DIR) -> None:
    """End the local stack, whoever started it."""
    try:
        anyio.run(partial(end, state_dir, _say))
    except StackError as error:
        raise CommandError(str(error)) from error


def _say(words: str) -> None:
    console().print(words, markup=False, soft_wrap=True)
