"""All commands: the name, the module that has the function of this name, one line of help.

Only the module of the command that is asked for is loaded, so that `spinney --help` and a mistyped word are answered
at once.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import NamedTuple


class Row(NamedTuple):
    """One command."""

    name: str
    module: str
    help: str

    def load(self) -> Callable[..., None]:
        """The function that carries it out."""
        return getattr(import_module(self.module), self.name)


COMMANDS = (
    Row("demo", "spinney.demo.command", "Everything up, an application deployed, broken, mended."),
    Row("up", "spinney.commands.local", "Start the local stack and keep it running until Ctrl-C."),
    Row("down", "spinney.commands.local", "End the local stack, whoever started it."),
    Row("status", "spinney.commands.overview", "The root, clusters, nodes and applications at a glance."),
    Row("nodes", "spinney.commands.overview", "The nodes: what is free, which runtimes they have verified."),
    Row("runtimes", "spinney.commands.overview", "The runtimes of every node: verified, or failed and why."),
    Row("apps", "spinney.commands.overview", "The applications with their services: what runs, and why not."),
    Row("instances", "spinney.commands.overview", "The instances: where each one is and what it runs on."),
    Row("deploy", "spinney.commands.change", "Deploy the applications of an SLA document."),
    Row("scale", "spinney.commands.change", "Run exactly N instances of a service."),
    Row("delete", "spinney.commands.change", "End an application with everything in it, or one service."),
    Row("logs", "spinney.commands.follow", "The end of what an instance wrote."),
    Row("events", "spinney.commands.follow", "What happens, as it happens."),
    Row("login", "spinney.commands.account", "Log in at a root and keep the login."),
)
