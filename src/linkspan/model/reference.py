"""How images are named: `[registry/]path[:tag][@digest]`, in Docker's short form and in full.

`mysql` is `docker.io/library/mysql:latest`. The first part is a registry where it has a dot
or a colon, or is localhost.
"""

from __future__ import annotations

import dataclasses
import re

from linkspan.errors import InvalidArgument

DEFAULT_REGISTRY = "docker.io"
_ALIASES = {"index.docker.io": DEFAULT_REGISTRY, "registry-1.docker.io": DEFAULT_REGISTRY}
_LABEL = "[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?"
_REGISTRY = re.compile(rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[0-9a-fA-F:]+\])(?::[0-9]+)?")
_PATH = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


@dataclasses.dataclass(frozen=True, slots=True)
class Reference:
    """A name. `tag` and `digest` are "" where not given."""

    registry: str
    path: str
    tag: str = ""
    digest: str = ""

    @property
    def repository(self) -> str:
        """In full, without tag and digest: docker.io/library/mysql."""
        return f"{self.registry}/{self.path}"

    @property
    def familiar_repository(self) -> str:
        """As Docker shows it: mysql."""
        if self.registry != DEFAULT_REGISTRY:
            return self.repository
        return self.path.removeprefix("library/") if self.path.count("/") == 1 else self.path

    @property
    def familiar(self) -> str:
        """As Docker shows it: mysql:latest, mysql@sha256:…"""
        return self.familiar_repository + self._suffix

    def __str__(self) -> str:
        """In full, as names are kept: docker.io/library/mysql:latest. A digest goes before a tag."""
        return self.repository + self._suffix

    @property
    def _suffix(self) -> str:
        if self.digest:
            return f"@{self.digest}"
        return f":{self.tag}" if self.tag else ""

    def tagged(self) -> Reference:
        """The same with the tag `latest` where neither tag nor digest is given."""
        return self if self.tag or self.digest else dataclasses.replace(self, tag="latest")


def parse_reference(text: str) -> Reference:
    """Raises InvalidArgument with Docker's words."""
    name, at, digest = text.partition("@")
    if at and not _DIGEST.fullmatch(digest):
        raise InvalidArgument("invalid reference format")
    if re.fullmatch(r"[0-9a-f]{64}", name):
        raise InvalidArgument(f"invalid repository name ({name}), cannot specify 64-byte hexadecimal strings")
    head, slash, rest = name.partition("/")
    if slash and ("." in head or ":" in head or head == "localhost"):
        registry = _ALIASES.get(head, head)
    else:
        registry, rest = DEFAULT_REGISTRY, name
    path, colon, tag = rest.partition(":")
    if colon and not _TAG.fullmatch(tag):
        raise InvalidArgument("invalid reference format")
    if path != path.lower():
        raise InvalidArgument(f"invalid reference format: repository name ({path}) must be lowercase")
    if not _PATH.fullmatch(path) or not _REGISTRY.fullmatch(registry) or len(path) > 255:
        raise InvalidArgument("invalid reference format")
    if registry == DEFAULT_REGISTRY and "/" not in path:
        path = f"library/{path}"
    return Reference(registry, path, tag, digest)
