"""An image registry on loopback, so that images are really pulled, without the internet."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from .daemon import PortDaemon
from .files import write_private
from .ports import LOOPBACK
from .tools import program


def configuration(port: int, storage: Path, secret: str) -> str:
    """The text of the registry's YAML file."""
    lines = [
        "version: 0.1",
        "log: {level: warn, accesslog: {disabled: true}}",
        "storage:",
        "  delete: {enabled: true}",
        "  cache: {blobdescriptor: inmemory}",
        f'  filesystem: {{rootdirectory: "{storage}"}}',
        "http:",
        f"  addr: {LOOPBACK}:{port}",
        f"  secret: {secret}",
    ]
    return "\n".join(lines) + "\n"


class Registry(PortDaemon):
    """docker-registry. Anybody on this machine may push, so images are to be named by digest where it matters."""

    name = "registry"
    default_port = 5000

    @property
    def address(self) -> str:
        """``host:port``, as image references name it."""
        return f"{LOOPBACK}:{self.port}"

    def prepare(self) -> None:
        """Write the configuration."""
        text = configuration(self.port, self.folder.data(self.name), self.folder.secret("registry-http"))
        write_private(self._config, text)

    def command(self) -> Sequence[str]:
        """The registry with our configuration."""
        return [program("docker-registry", "docker-registry"), "serve", str(self._config)]

    @property
    def _config(self) -> Path:
        return self.folder.config("registry.yml")
