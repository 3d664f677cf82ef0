"""Image names: `alpine`, `host:5000/team/app:1.0`, `app@sha256:…`, and what they are in full."""

from __future__ import annotations

import re

from linkspan.cli.failure import Failure

DEFAULT_REGISTRY = "docker.io"
INDEX_SERVER = "https://index.docker.io/v1/"
_TAG = re.compile(r"[\w][\w.-]{0,127}")
_DIGEST = re.compile(r"[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}")
_PATH = re.compile(r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*")
_REGISTRY = re.compile(
    r"(?:[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?(?:\.[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?)*|\[[0-9a-fA-F:]+\])(?::\d+)?"
)


class Reference:
    """`registry`/`path`, with `tag` and `digest` "" where none was given. Raises Failure in Docker's words."""

    def __init__(self, text: str) -> None:
        name, at, self.digest = text.partition("@")
        if at and not _DIGEST.fullmatch(self.digest):
            raise Failure("invalid reference format")
        head, colon, tag = name.rpartition(":")
        if colon and "/" not in tag:
            name, self.tag = head, tag
            if not _TAG.fullmatch(tag):
                raise Failure("invalid reference format")
        else:
            self.tag = ""
        if re.fullmatch(r"[a-f0-9]{64}", name):
            raise Failure(f"invalid repository name ({name}), cannot specify 64-byte hexadecimal strings")
        registry, slash, path = name.partition("/")
        if not slash or not (re.search("[.:]", registry) or registry == "localhost" or registry != registry.lower()):
            registry, path = DEFAULT_REGISTRY, name
        if registry == "index.docker.io":
            registry = DEFAULT_REGISTRY
        if registry == DEFAULT_REGISTRY and "/" not in path:
            path = f"library/{path}"
        if path != path.lower():
            raise Failure(f"invalid reference format: repository name ({path}) must be lowercase")
        if not _REGISTRY.fullmatch(registry) or not all(_PATH.fullmatch(part) for part in path.split("/")):
            raise Failure("invalid reference format")
        self.registry, self.path = registry, path

    @property
    def name(self) -> str:
        """In full: docker.io/library/alpine."""
        return f"{self.registry}/{self.path}"

    @property
    def familiar(self) -> str:
        """As people write it: alpine."""
        if self.registry != DEFAULT_REGISTRY:
            return self.name
        return self.path.removeprefix("library/") if self.path.count("/") == 1 else self.path

    @property
    def server(self) -> str:
        """The key under which `login` stores credentials."""
        return INDEX_SERVER if self.registry == DEFAULT_REGISTRY else self.registry
