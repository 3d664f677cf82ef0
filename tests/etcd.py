"""etcd for tests: real members in test hosts."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from demo.etcd import Certificates, Members, Place

from tests.hosts import Host


def place(host: Host, address: str, name: str = "") -> Place:
    return Place(name or host.name, address, ("nsenter", f"--net={host.path}", "--"))


@contextlib.contextmanager
def etcd(
    places: Sequence[Place],
    folder: Path,
    certificates: Certificates | None = None,
    flags: Sequence[str] = (),
) -> Iterator[Members]:
    """A cluster that serves, with one member a place; ended and waited for at the end."""
    members = Members(places, folder, certificates, flags)
    try:
        members.start()
        yield members
    finally:
        members.end()
