"""What an image reference such as ``nginx:1.27`` means: which registry, which repository, which tag or digest."""

from __future__ import annotations

import re
from typing import Final

from msgspec import Struct

from .. import ImageUnavailable

DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")
_REPOSITORY: Final = re.compile(r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*)*")
_TAG: Final = re.compile(r"\w[\w.-]{0,127}", re.ASCII)
_HOST: Final = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9a-fA-F:]+\])(?::\d{1,5})?")
_LONGEST: Final = 512
"""Characters; far above anything real, so that error messages and names stay bounded."""


class Reference(Struct, frozen=True):
    """A reference with nothing left out; `host` is as written, ``docker.io`` when it was not."""

    host: str
    repository: str
    tag: str = ""
    digest: str = ""

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        digest = f"@{self.digest}" if self.digest else ""
        return f"{self.host}/{self.repository}{tag}{digest}"

    @property
    def version(self) -> str:
        """What to ask the registry for: the digest when there is one, else the tag."""
        return self.digest or self.tag


def parse(text: str) -> Reference:
    """Read a reference as people write it; raises ImageUnavailable that says what is wrong with it."""
    if len(text) > _LONGEST:
        raise ImageUnavailable(f"image reference {text[:40]!r}… is longer than {_LONGEST} characters")
    rest, at, digest = text.partition("@")
    if at and not DIGEST.fullmatch(digest):
        raise ImageUnavailable(f"image reference {text!r}: the digest after '@' must be sha256: and 64 hex digits")
    first, slash, remainder = rest.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost"):
        host, path = first, remainder
    else:
        host, path = "docker.io", rest
    repository, colon, tag = path.partition(":")
    if host == "docker.io" and "/" not in repository:
        repository = f"library/{repository}"
    if not _HOST.fullmatch(host) or not _REPOSITORY.fullmatch(repository) or (colon and not _TAG.fullmatch(tag)):
        raise ImageUnavailable(f"image reference {text!r} is not [host[:port]/]name[:tag][@digest]")
    return Reference(host, repository, tag or ("" if digest else "latest"), digest)
