"""The resolver follows the records."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from linkspan.daemon.ledger import Ledger
from linkspan.engine.names import NameSettings, name_record, render_names, touched_names
from linkspan.model.snapshot import Snapshot, Write
from linkspan.resolver.feed import Feed


class Names:
    def __init__(self, ledger: Ledger, settings: NameSettings, folder: Path, namespaces: Path) -> None:
        """`folder` is where the resolver's process is found."""
        self._ledger = ledger
        self._feed = Feed(
            folder,
            namespaces,
            lambda: render_names(ledger.now, settings),
            lambda key: name_record(ledger.now, key, settings),
        )

    def start(self) -> None:
        self._feed.start()

    async def ready(self) -> None:
        """Once names are answered, or it is clear that they will not be."""
        await self._feed.ready()

    async def follow(self, before: Snapshot, writes: Sequence[Write]) -> None:
        """Returns once names are answered as these writes have made them."""
        await self._feed.follow(touched_names(before, self._ledger.now, writes))

    async def close(self) -> None:
        await self._feed.close()
