"""The volume verbs, as the front doors call them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from linkspan.daemon.views import VolumeView


class Volumes:
    """Volumes are known by name. NotFound's text is `get NAME: no such volume`."""

    def view(self, name: str) -> VolumeView:
        raise NotImplementedError

    def views(self) -> list[VolumeView]:
        raise NotImplementedError

    async def create(
        self, name: str, *, driver: str, labels: Mapping[str, str], options: Mapping[str, str]
    ) -> VolumeView:
        """An existing volume of that name is answered as it is. An empty name gives an anonymous one."""
        raise NotImplementedError

    async def remove(self, name: str, *, force: bool) -> None:
        raise NotImplementedError

    async def prune(self, keep: Callable[[VolumeView], bool]) -> tuple[list[str], int]:
        """Removes the unused volumes, except what `keep` says; answers names and bytes freed."""
        raise NotImplementedError
