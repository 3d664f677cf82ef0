"""The volume verbs, as the front doors call them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from pathlib import Path

from linkspan.containers.mounts import check_volume_name
from linkspan.daemon.events import Events
from linkspan.daemon.identity import new_id, now
from linkspan.daemon.ledger import Ledger
from linkspan.daemon.views import VolumeView
from linkspan.errors import Conflict, Internal, InvalidArgument, NotFound
from linkspan.model.event import Event
from linkspan.model.snapshot import drop, put
from linkspan.model.volume import Volume
from linkspan.runtime import volumes as directories


class Volumes:
    """Volumes are known by name. NotFound's text is `get NAME: no such volume`."""

    def __init__(self, ledger: Ledger, events: Events, folder: Path) -> None:
        self._ledger, self._events, self.folder = ledger, events, folder

    def view(self, name: str) -> VolumeView:
        volume = self._ledger.now.volumes.get(name)
        if volume is None:
            raise NotFound(f"get {name}: no such volume")
        return VolumeView(volume, self._users(name))

    def views(self) -> list[VolumeView]:
        return [self.view(name) for name in sorted(self._ledger.now.volumes)]

    async def create(
        self, name: str, *, driver: str, labels: Mapping[str, str], options: Mapping[str, str]
    ) -> VolumeView:
        """An existing volume of that name is answered as it is. An empty name gives an anonymous one."""
        if driver not in ("", "local"):
            raise NotFound(f'error looking up volume plugin {driver}: plugin "{driver}" not found')
        if options:
            raise InvalidArgument(f"volume options are not supported: {', '.join(sorted(options))}")
        if name in self._ledger.now.volumes:
            return self.view(name)
        return self.view(self.make(name, labels).name)

    def make(self, name: str, labels: Mapping[str, str] | None = None) -> Volume:
        """The record and the directory of a volume that is not there yet; an empty name makes an anonymous one.

        The record comes first and goes last: a directory without one would never be found again.
        """
        chosen = check_volume_name(name) if name else new_id()
        mountpoint = directories.place(self.folder, chosen)
        volume = Volume(
            name=chosen, created=now(), mountpoint=str(mountpoint), labels=dict(labels or {}), anonymous=not name
        )
        self._ledger.commit([put(volume)])
        try:
            directories.create(self.folder, chosen)
        except Internal:
            directories.remove(self.folder, chosen)
            self._ledger.commit([drop(volume)])
            raise
        self._tell("create", volume)
        return volume

    async def remove(self, name: str, *, force: bool) -> None:
        if force and name not in self._ledger.now.volumes:
            return
        view = self.view(name)
        if view.used_by:
            raise Conflict(f"remove {name}: volume is in use - [{', '.join(view.used_by)}]")
        await asyncio.to_thread(directories.remove, self.folder, name)
        if self._users(name):  # a container was made with it meanwhile
            directories.create(self.folder, name)
            raise Conflict(f"remove {name}: volume is in use - [{', '.join(self._users(name))}]")
        self._ledger.commit([drop(view.volume)])
        self._tell("destroy", view.volume)

    async def size(self, volume: Volume) -> int:
        """Bytes in files."""
        return await asyncio.to_thread(directories.size, self.folder, volume.name)

    async def prune(self, keep: Callable[[VolumeView], bool]) -> tuple[list[str], int]:
        """Removes the unused volumes, except what `keep` says; answers names and bytes freed."""
        names, freed = [], 0
        for view in self.views():
            if not view.used_by and not keep(view):
                freed += await self.size(view.volume)
                with contextlib.suppress(Conflict, NotFound):  # somebody was quicker
                    await self.remove(view.volume.name, force=False)
                    names.append(view.volume.name)
        return names, freed

    def _users(self, name: str) -> tuple[str, ...]:
        containers = self._ledger.now.containers.values()
        return tuple(c.id for c in containers if any(m.type == "volume" and m.name == name for m in c.mounts))

    def _tell(self, action: str, volume: Volume) -> None:
        attributes = {"driver": volume.driver}
        self._events.publish(Event(kind="volume", action=action, id=volume.name, attributes=attributes))
