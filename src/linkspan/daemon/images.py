"""The image verbs, as the front doors call them."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from typing import Any

from linkspan.daemon.identity import now
from linkspan.daemon.views import ImageView
from linkspan.errors import Conflict, InvalidArgument
from linkspan.model.container import Container
from linkspan.model.event import Event
from linkspan.model.image import Image, ImageConfig
from linkspan.model.reference import Reference, parse_reference
from linkspan.runtime.images import ImageStore, archives
from linkspan.runtime.images.commit import commit
from linkspan.runtime.images.manifest import (
    Descriptor,
    Platform,
    check_platform,
    digest_of,
    parse_manifest,
    read_config,
)
from linkspan.runtime.images.pull import pull, tags
from linkspan.runtime.images.push import push
from linkspan.runtime.images.skopeo import Credentials
from linkspan.runtime.images.store import with_tag

Progress = dict[str, Any]  # one line of Docker's progress stream: {"status", "id", "progressDetail"}


class Images:
    """`ref` is a name in any of Docker's forms, an id or a prefix of one. NotFound's text is `No such image: REF`."""

    def __init__(
        self, store: ImageStore, *, containers: Callable[[], Iterable[Container]], emit: Callable[[Event], None]
    ) -> None:
        self._store, self._containers, self._emit = store, containers, emit

    def trust(self, insecure_registries: Sequence[str]) -> None:
        self._store.trust(insecure_registries)

    def view(self, ref: str, platform: str = "") -> ImageView:
        """With `platform`, NotFound also where the image is for another."""
        image = self._store.find(ref)
        check_platform(image, platform, ref)
        return self._view(image)

    def views(self) -> list[ImageView]:
        """Newest first."""
        return [self._view(image) for image in self._store.images()]

    def _view(self, image: Image) -> ImageView:
        return ImageView(image, sum(c.image_id == image.id for c in self._containers()))

    # -- moving -------------------------------------------------------------------------------------------------------

    async def pull(self, name: str, tag: str, *, platform: str, auth: str) -> AsyncIterator[Progress]:
        """`auth` is the X-Registry-Auth header as it came; with no tag, every tag comes.

        Errors are raised, also in mid-stream. A client that goes away ends the pull.
        """
        reference = with_tag(parse_reference(name), tag)
        wanted = [reference]
        if not reference.tag and not reference.digest:
            found = await tags(self._store, reference, auth=auth)
            wanted = [dataclasses.replace(reference, tag=one) for one in found]
        for one in wanted:
            async with contextlib.aclosing(pull(self._store, one, platform=platform, auth=auth)) as lines:
                async for line in lines:
                    yield line
            self._tell("pull", one.familiar, one.familiar_repository, self._store.find(str(one)))

    async def distribution(self, name: str, *, auth: str) -> tuple[Descriptor, list[Platform]]:
        """What the registry has under a name: its manifest, and the platforms that it is for."""
        reference = parse_reference(name).tagged()
        registry = self._store.registry(reference, auth)
        raw = await registry.manifest(reference.digest or reference.tag)
        manifest = parse_manifest(raw, reference.familiar)
        found = Descriptor(media_type=manifest.kind, digest=digest_of(raw), size=len(raw))
        if manifest.manifests is not None:
            return found, [entry.platform for entry in manifest.manifests if entry.platform]
        image = read_config(await registry.config(found.digest))
        return found, [Platform(os=image.os, architecture=image.architecture)]

    async def push(self, name: str, tag: str, *, auth: str) -> AsyncIterator[Progress]:
        """With no tag, every tag of the repository goes."""
        reference = with_tag(parse_reference(name), tag)
        wanted = [reference]
        if not reference.tag and not reference.digest:
            names = [one for image in self._store.images() for one in self._store.names_of(image.id)]
            wanted = [n for n in names if n.repository == reference.repository and n.tag] or [reference.tagged()]
        for one in wanted:
            async with contextlib.aclosing(push(self._store, one, auth=auth)) as lines:
                async for line in lines:
                    yield line
            self._tell("push", one.familiar, one.familiar_repository, self._store.find(str(one)))

    async def load(self, body: AsyncIterator[bytes], *, quiet: bool) -> AsyncIterator[Progress]:
        async with contextlib.aclosing(archives.load(self._store, body, quiet=quiet)) as lines:
            async for line in lines:
                yield line
                if "stream" in line:
                    name = str(line["stream"]).rpartition(": ")[2].strip()
                    image = self._store.find(name)
                    self._tell("load", image.id, name, image)

    async def import_(
        self, body: AsyncIterator[bytes], *, repo: str, tag: str, message: str, changes: list[str]
    ) -> AsyncIterator[Progress]:
        name = with_tag(parse_reference(repo), tag).tagged() if repo else None
        async with contextlib.aclosing(archives.import_(self._store, body, name, message, changes, now())) as lines:
            async for line in lines:
                yield line
                image = self._store.find(str(line["status"]))
                self._tell("import", image.id, name.familiar if name else image.id, image)

    async def commit(
        self,
        container: Container,
        layer: AsyncIterator[bytes],
        *,
        config: ImageConfig,
        author: str,
        comment: str,
        name: Reference | None,
    ) -> Image:
        """An image of the container's own, with what it has written (`layer`, a tar) on top."""
        made: dict[str, Any] = {
            "created": now(),
            "author": author,
            "comment": comment,
            "container": container.id,
            "container_config": container.config,
        }
        return await commit(
            self._store,
            self._store.find(container.image_id),
            layer,
            config=config,
            made={key: value for key, value in made.items() if value},
            created_by=" ".join(container.config.cmd or ()),
            name=name,
        )

    async def save(self, refs: list[str]) -> AsyncIterator[bytes]:
        """A docker-archive of the images, as `docker load` reads it. Raises NotFound before the first byte."""
        images = [(ref, self._store.find(ref)) for ref in refs]
        async with contextlib.aclosing(archives.save(self._store, refs)) as pieces:
            async for piece in pieces:
                yield piece
        for ref, image in images:
            self._tell("save", image.id, ref, image)

    async def login(self, server: str, username: str, password: str) -> str:
        """Docker's status text. Raises Unauthorized."""
        return await self._store.login(server, Credentials(username=username, password=password))

    # -- names and removal --------------------------------------------------------------------------------------------

    async def tag(self, ref: str, repo: str, tag: str) -> None:
        image = self._store.find(ref)
        name = with_tag(parse_reference(repo), tag).tagged()
        if name.digest:
            raise InvalidArgument("refusing to create a tag with a digest reference")
        self._store.tag(image.id, name)
        self._tell("tag", image.id, name.familiar, image)

    async def remove(self, ref: str, *, force: bool, prune: bool) -> list[dict[str, str]]:
        """Docker's list of {"Untagged": …} and {"Deleted": …}. Raises Conflict with Docker's words.

        A name goes alone while the image has others; an id takes all its names. `prune` is accepted: there are no
        untagged parents to take along.
        """
        image = self._store.find(ref)
        names = self._store.names_of(image.id)
        asked = self._asked(ref, names)
        users = [container for container in self._containers() if container.image_id == image.id]
        if asked and self._others(names, asked):
            return self._untag(image, self._with_digests(names, asked))
        self._check_free(image, names, users, asked, force=force)
        if users:  # their layers are needed as long as they are there: only the names go
            return self._untag(image, names)
        return await self._delete(image)

    async def prune(self, drop: Callable[[ImageView], bool]) -> tuple[list[dict[str, str]], int]:
        """Removes the unused images that `drop` says; answers as `remove`, and the bytes freed."""
        gone: list[dict[str, str]] = []
        freed = 0
        for view in self.views():
            if view.containers == 0 and drop(view) and self._store.has(view.image.id):
                before = self._store.size
                gone += await self._delete(view.image)
                freed += before - self._store.size
        return gone, freed

    def _asked(self, ref: str, names: list[Reference]) -> Reference | None:
        """The name by which `ref` means the image; None where it is an id."""
        try:
            asked = parse_reference(ref).tagged()
        except InvalidArgument:
            return None
        return next((name for name in names if str(name) == str(asked)), None)

    @staticmethod
    def _others(names: list[Reference], asked: Reference) -> bool:
        """The image keeps a name when `asked` goes: another tag, or, where it has no tags, another digest."""
        tags = [name for name in names if name.tag]
        return any(name != asked for name in (tags or names))

    @staticmethod
    def _with_digests(names: list[Reference], asked: Reference) -> list[Reference]:
        """`asked`, and its repository's digests where no tag of that repository is left to show them."""
        same = [name for name in names if name.repository == asked.repository and name != asked]
        return [asked] if asked.digest or any(name.tag for name in same) else [asked, *same]

    @staticmethod
    def _check_free(
        image: Image, names: list[Reference], users: list[Container], asked: Reference | None, *, force: bool
    ) -> None:
        short = image.id.removeprefix("sha256:")[:12]
        running = next((container for container in users if container.state.running), None)
        if asked:
            if users and not force:
                raise Conflict(
                    f'conflict: unable to remove repository reference "{asked.familiar}" (must force) - container '
                    f"{(running or users[0]).id[:12]} is using its referenced image {short}"
                )
            return
        if running:
            raise Conflict(
                f"conflict: unable to delete {short} (cannot be forced) - image is being used by running container "
                f"{running.id[:12]}"
            )
        if force:
            return
        if len({name.repository for name in names if name.tag}) > 1 or len([n for n in names if n.tag]) > 1:
            raise Conflict(
                f"conflict: unable to delete {short} (must be forced) - image is referenced in multiple repositories"
            )
        if users:
            raise Conflict(
                f"conflict: unable to delete {short} (must be forced) - image is being used by stopped container "
                f"{users[0].id[:12]}"
            )

    def _untag(self, image: Image, names: list[Reference]) -> list[dict[str, str]]:
        self._store.untag(*names)
        for _ in names:
            self._tell("untag", image.id, image.id, image)
        return [{"Untagged": name.familiar} for name in sorted(names, key=lambda name: bool(name.digest))]

    async def _delete(self, image: Image) -> list[dict[str, str]]:
        gone = self._untag(image, self._store.names_of(image.id))
        layers = await self._store.delete(image.id)
        self._tell("delete", image.id, image.id, image)
        return [*gone, {"Deleted": image.id}, *({"Deleted": layer} for layer in reversed(layers))]

    def _tell(self, action: str, id_: str, name: str, image: Image) -> None:
        attributes = {**(image.config.labels or {}), "name": name}
        self._emit(Event(kind="image", action=action, id=id_, attributes=attributes))
