"""`docker commit`, as the front doors call it."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping
from typing import Any

import msgspec

from linkspan.containers.commit import image_config
from linkspan.daemon.images import Images
from linkspan.daemon.ledger import Ledger
from linkspan.daemon.lifecycle import Lifecycle
from linkspan.errors import Conflict, InvalidArgument, LinkspanError
from linkspan.model.container import Container
from linkspan.model.image import ImageConfig
from linkspan.model.reference import parse_reference
from linkspan.runtime.images.changes import apply_changes
from linkspan.runtime.images.store import with_tag


class Commits:
    def __init__(self, ledger: Ledger, lifecycle: Lifecycle, images: Images) -> None:
        self._ledger, self._lifecycle, self._images = ledger, lifecycle, images

    async def commit(
        self,
        ref: str,
        *,
        repo: str,
        tag: str,
        author: str,
        comment: str,
        pause: bool,
        config: Mapping[str, Any],
        changes: list[str],
    ) -> str:
        """The id of the new image. `config` is Docker's JSON of what it is to say; `changes` are Dockerfile lines.

        Raises InvalidArgument, NotFound.
        """
        container = self._ledger.now.container(ref)
        name = with_tag(parse_reference(repo), tag).tagged() if repo else None
        if name and name.digest:
            raise InvalidArgument("refusing to create a tag with a digest reference")
        try:
            asked = msgspec.convert(apply_changes(changes, config), ImageConfig)
        except msgspec.ValidationError as error:
            raise InvalidArgument(f"invalid request: {error}") from None
        async with self._at_rest(container, pause=pause), self._lifecycle.launch.written(container) as layer:
            image = await self._images.commit(
                container,
                layer,
                config=image_config(container.config, asked),
                author=author,
                comment=comment,
                name=name,
            )
        self._lifecycle.publish(
            "commit", container, comment=comment, imageID=image.id, imageRef=name.familiar if name else ""
        )
        return image.id

    @contextlib.asynccontextmanager
    async def _at_rest(self, container: Container, *, pause: bool) -> AsyncIterator[None]:
        """Nothing is written meanwhile: it does not start, or is paused where that is wished for."""
        paused = pause and container.state.status == "running"
        if paused:
            try:
                await self._lifecycle.to_its_end(self._lifecycle.pause(container.id, "pause"))
            except LinkspanError:  # it has ended meanwhile, or somebody else was quicker
                paused = False
        if not self._ledger.now.container(container.id).state.running:
            async with self._lifecycle.lock(container.id):
                yield
            return
        try:
            yield
        finally:
            if paused:
                with contextlib.suppress(Conflict):  # somebody else was quicker, or it has ended
                    await self._lifecycle.to_its_end(self._lifecycle.pause(container.id, "unpause"))
