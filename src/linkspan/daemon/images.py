"""The image verbs, as the front doors call them."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any

from linkspan.daemon.identity import now
from linkspan.daemon.views import ImageView
from linkspan.errors import Conflict, InvalidArgument, NotFound
from linkspan.model.container import Container
from linkspan.model.event import Event
from linkspan.model.image import Image
from linkspan.model.reference import Reference, parse_reference
from linkspan.runtime.images import ImageStore, archives, transfer
from linkspan.runtime.images.login import login
from linkspan.runtime.images.store import with_tag

Progress = dict[str, Any]  # one line of Docker's progress stream: {"status", "id", "progressDetail"}


class Images:
    """`ref` is a name in any of Docker's forms, an id or a prefix of one. NotFound's text is `No such image: REF`."""

    def __init__(
        self, store: ImageStore, *, containers: Callable[[], Iterable[Container]], emit: Callable[[Event], None]
    ) -> None:
        self._store, self._containers, self._emit = store, containers, emit

    def view(self, ref: str) -> ImageView:
        return self._view(self._store.find(ref))

    def views(self) -> list[ImageView]:
        """Newest first."""
        return [self._view(image) for image in self._store.images()]

    def _view(self, image: Image) -> ImageView:
        return ImageView(image, sum(c.image_id == image.id for c in self._containers()))

    # -- moving -------------------------------------------------------------------------------------------------------

    async def pull(self, name: str, tag: str, *, platform: str, auth: str) -> AsyncIterator[Progress]:
        """`auth` is the X-Registry-Auth header as it came. Errors are raised, also in mid-stream."""
        reference = with_tag(parse_reference(name), tag)
        wanted = [reference]
        if not reference.tag and not reference.digest:
            found = await transfer.tags(self._store, reference, auth=auth)
            wanted = [dataclasses.replace(reference, tag=one) for one in found]
        for one in wanted:
            async for line in transfer.pull(self._store, one, platform=platform, auth=auth):
                yield line
            self._tell("pull", one.familiar, one.familiar_repository)

    async def push(self, name: str, tag: str, *, auth: str) -> AsyncIterator[Progress]:
        reference = with_tag(parse_reference(name), tag)
        transfer.check_pushable(reference)
        wanted = [reference]
        if not reference.tag:
            names = [n for image in self._store.images() for n in self._store.names_of(image.id)]
            wanted = [n for n in names if n.repository == reference.repository and n.tag] or [reference.tagged()]
        for one in wanted:
            async for line in transfer.push(self._store, one, auth=auth):
                yield line
            self._tell("push", one.familiar, one.familiar_repository)

    async def load(self, body: AsyncIterator[bytes], *, quiet: bool) -> AsyncIterator[Progress]:
        async for line in archives.load(self._store, body):
            yield line
            name = str(line.get("stream", "")).rpartition(": ")[2].strip()
            self._tell("load", self._store.find(name).id, name)

    async def import_(
        self, body: AsyncIterator[bytes], *, repo: str, tag: str, message: str, changes: list[str]
    ) -> AsyncIterator[Progress]:
        name = with_tag(parse_reference(repo), tag).tagged() if repo else None
        async for line in archives.import_(self._store, body, name, message, changes, now()):
            yield line
            self._tell("import", str(line["status"]), name.familiar if name else str(line["status"]))

    async def save(self, refs: list[str]) -> AsyncIterator[bytes]:
        """A docker-archive of the images, as `docker load` reads it."""
        async for piece in archives.save(self._store, refs):
            yield piece
        for ref in refs:
            self._tell("save", self._store.find(ref).id, ref)

    # -- names and removal --------------------------------------------------------------------------------------------

    async def tag(self, ref: str, repo: str, tag: str) -> None:
        image = self._store.find(ref)
        name = with_tag(parse_reference(repo), tag).tagged()
        if name.digest:
            raise InvalidArgument("refusing to create a tag with a digest reference")
        self._store.tag(image.id, name)
        self._tell("tag", image.id, name.familiar)

    async def remove(self, ref: str, *, force: bool, prune: bool) -> list[dict[str, str]]:
        """Docker's list of {"Untagged": …} and {"Deleted": …}."""
        image = self._store.find(ref)
        names = self._store.names_of(image.id)
        tags = [name for name in names if name.tag]
        by_name = self._named(ref, names)
        users = [c for c in self._containers() if c.image_id == image.id]
        running = next((c for c in users if c.state.running), None)
        short = image.id.removeprefix("sha256:")[:12]
        if by_name and len(tags) > 1:
            return self._untag(image, [by_name])
        if running and not by_name:
            raise Conflict(
                f"conflict: unable to delete {short} (cannot be forced) - image is being used by running container "
                f"{running.id[:12]}"
            )
        if users and not force:
            if by_name:
                raise Conflict(
                    f'conflict: unable to remove repository reference "{by_name.familiar}" (must force) - container '
                    f"{users[0].id[:12]} is using its referenced image {short}"
                )
            raise Conflict(
                f"conflict: unable to delete {short} (must be forced) - image is being used by stopped container "
                f"{users[0].id[:12]}"
            )
        if not by_name and len(tags) > 1 and not force:
            raise Conflict(
                f"conflict: unable to delete {short} (must be forced) - image is referenced in multiple repositories"
            )
        gone = self._untag(image, names)
        if users:  # its containers live on the layers: only the names go
            return gone
        return gone + await self._delete(image)

    async def prune(self, drop: Callable[[ImageView], bool]) -> tuple[list[dict[str, str]], int]:
        gone: list[dict[str, str]] = []
        freed = 0
        for view in self.views():
            if view.containers == 0 and drop(view):
                gone += self._untag(view.image, self._store.names_of(view.image.id))
                gone += await self._delete(view.image)
                freed += view.image.size
        return gone, freed

    async def login(self, server: str, username: str, password: str) -> str:
        """Docker's status text. Raises Unauthorized."""
        return await login(server, username, password, verify=self._store.skopeo.verifies)

    def _named(self, ref: str, names: list[Reference]) -> Reference | None:
        """The name by which `ref` means the image; None where it is an id."""
        try:
            asked = parse_reference(ref).tagged()
        except InvalidArgument:
            return None
        return asked if asked in names else None

    def _untag(self, image: Image, names: list[Reference]) -> list[dict[str, str]]:
        self._store.untag(*names)
        for _ in names:
            self._tell("untag", image.id, image.id)
        return [{"Untagged": name.familiar} for name in names]

    async def _delete(self, image: Image) -> list[dict[str, str]]:
        async with self._store.changing:
            if any(c.image_id == image.id for c in self._containers()):  # somebody was quicker
                raise Conflict(f"conflict: unable to delete {image.id[7:19]} - a container is being made from it")
            await self._store.delete(image.id)
        self._tell("delete", image.id, image.id)
        return [{"Deleted": image.id}]

    def _tell(self, action: str, id_: str, name: str) -> None:
        try:
            labels = self._store.find(id_).config.labels or {}
        except NotFound:
            labels = {}
        self._emit(Event(kind="image", action=action, id=id_, attributes={**labels, "name": name}))
