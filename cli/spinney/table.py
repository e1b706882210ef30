"""All commands: the name, the module that has the function of this name, one line of help.

Only the module of the command that is asked for is loaded, so that `spinney --help` and a mistyped word are answered
at once, and `spinney apps` does not load the local stack.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

from msgspec import Struct


class Row(Struct, frozen=True):
    """One command."""

    name: str
    module: str
    help: str
    group: str

    def load(self) -> Callable[..., None]:
        """The function that carries it out."""
        return getattr(import_module(self.module), self.name)


_LOCAL, _LOOK, _CHANGE, _LISTEN = "Local stack", "Look", "Change", "Listen"

COMMANDS = (
    Row("demo", "spinney.demo.command", "Bring everything up, run a small application, break it, clean up.", _LOCAL),
    Row("up", "spinney.commands.local", "Start the local stack and keep it running until Ctrl-C.", _LOCAL),
    Row("down", "spinney.commands.local", "End the local stack, whoever started it.", _LOCAL),
    Row(
        "status", "spinney.commands.overview", "Everything at a glance: the root, clusters, nodes, applications.", _LOOK
    ),
    Row("nodes", "spinney.commands.overview", "The nodes: what is free, which runtimes they have verified.", _LOOK),
    Row("runtimes", "spinney.commands.overview", "The runtimes of every node: verified, or failed and why.", _LOOK),
    Row("apps", "spinney.commands.overview", "The applications with their services: what runs, and why not.", _LOOK),
    Row("instances", "spinney.commands.overview", "The instances: where each one is and what it runs on.", _LOOK),
    Row("deploy", "spinney.commands.change", "Deploy the applications of an SLA document.", _CHANGE),
    Row("scale", "spinney.commands.change", "Run exactly N instances of a service.", _CHANGE),
    Row("delete", "spinney.commands.change", "End an application with everything in it, or one service.", _CHANGE),
    Row("logs", "spinney.commands.follow", "The end of what an instance wrote.", _LISTEN),
    Row("events", "spinney.commands.follow", "What happens, as it happens.", _LISTEN),
    Row("login", "spinney.commands.account", "Log in at a root and keep the login.", _CHANGE),
)
