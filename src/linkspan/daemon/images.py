"""The image verbs, as the front doors call them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

from linkspan.daemon.views import ImageView

Progress = dict[str, Any]  # one line of Docker's progress stream: {"status", "id", "progressDetail"}


class Images:
    """`ref` is a name in any of Docker's forms, an id or a prefix of one. NotFound's text is `No such image: REF`."""

    def view(self, ref: str) -> ImageView:
        raise NotImplementedError

    def views(self) -> list[ImageView]:
        """Newest first."""
        raise NotImplementedError

    def pull(self, name: str, tag: str, *, platform: str, auth: str) -> AsyncIterator[Progress]:
        """`auth` is the X-Registry-Auth header as it came. Errors are raised, also in mid-stream."""
        raise NotImplementedError

    def push(self, name: str, tag: str, *, auth: str) -> AsyncIterator[Progress]:
        raise NotImplementedError

    def load(self, body: AsyncIterator[bytes], *, quiet: bool) -> AsyncIterator[Progress]:
        raise NotImplementedError

    def import_(
        self, body: AsyncIterator[bytes], *, repo: str, tag: str, message: str, changes: list[str]
    ) -> AsyncIterator[Progress]:
        raise NotImplementedError

    def save(self, refs: list[str]) -> AsyncIterator[bytes]:
        """A docker-archive of the images, as `docker load` reads it."""
        raise NotImplementedError

    async def tag(self, ref: str, repo: str, tag: str) -> None:
        raise NotImplementedError

    async def remove(self, ref: str, *, force: bool, prune: bool) -> list[dict[str, str]]:
        """Docker's list of {"Untagged": …} and {"Deleted": …}."""
        raise NotImplementedError

    async def prune(self, drop: Callable[[ImageView], bool]) -> tuple[list[dict[str, str]], int]:
        raise NotImplementedError

    async def login(self, server: str, username: str, password: str) -> str:
        """Docker's status text. Raises Unauthorized."""
        raise NotImplementedError
