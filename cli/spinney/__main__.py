"""The `spinney` command. Exit status: 0 done, 1 failed (why is on stderr), 2 asked for in a wrong way."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import wraps
from typing import ParamSpec

import typer

from .errors import CommandError
from .table import COMMANDS

P = ParamSpec("P")

_ABOUT = "Spinney runs applications on the machines that can really run them. These commands talk to a root."
_MORE = "Names or ids are both accepted. COMMAND --help tells more; nearly every command has --json."


def application(arguments: Sequence[str]) -> typer.Typer:
    """The command-line application, with the code of the one command that these arguments ask for."""
    made = typer.Typer(
        help=_ABOUT,
        epilog=_MORE,
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode=None,  # the plain help is ready twice as fast
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    wanted = next((word for word in arguments if not word.startswith("-")), "")
    for row in COMMANDS:
        function = _said(row.load()) if row.name == wanted else _elsewhere
        made.command(row.name, help=None if row.name == wanted else row.help)(function)
    return made


def main() -> None:
    """Entry point."""
    application(sys.argv[1:])(prog_name="spinney")


def _said(function: Callable[P, None]) -> Callable[P, None]:
    """The command, with its failures said on stderr and told by the exit status."""

    @wraps(function)
    def command(*given: P.args, **named: P.kwargs) -> None:
        try:
            function(*given, **named)
        except CommandError as error:
            typer.secho(str(error), err=True, fg="red")
            raise typer.Exit(1) from error

    return command


def _elsewhere() -> None:
    """Stands for a command that is only listed."""


if __name__ == "__main__":
    main()
