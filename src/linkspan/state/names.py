"""What the resolver has to know, as frozen values: rendered from the records, like kernel objects, and fed to it by
difference. Two with the same `key` are the same thing, perhaps with other settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

import msgspec


class Listening(msgspec.Struct, frozen=True, kw_only=True, tag="sandbox"):
    """A sandbox in which 127.0.0.11 answers."""

    id: str
    path: str  # of its network namespace
    # Where other names are asked for: `--dns` servers, from inside the sandbox; None: the host's, from the host.
    servers: tuple[str, ...] | None = None
    outward: bool = True  # it has a way out, so that the host may ask for it
    ndots: bool | None = None  # the user set the option ndots; None: as the host's resolv.conf does

    @property
    def key(self) -> NameKey:
        return ("sandbox", self.id)


class Named(msgspec.Struct, frozen=True, kw_only=True, tag="endpoint"):
    """An endpoint's names on its network."""

    id: str
    sandbox: str  # "" on another host
    network: str  # its id
    network_name: str
    names: tuple[str, ...]  # for its neighbours; the first one is the reverse name. None on a predefined network
    host_name: str  # for the host, before the network's name
    addresses: tuple[str, ...]
    links: Mapping[str, str] = msgspec.field(default_factory=dict)  # alias → name on this network, for its own sandbox
    rank: tuple[int, bool, str] = (0, False, "")  # order among the sandbox's endpoints

    @property
    def key(self) -> NameKey:
        return ("endpoint", self.id)


class HostListener(msgspec.Struct, frozen=True, kw_only=True, tag="host"):
    """Where the host itself may ask for `name.network.linkspan`."""

    address: str
    port: int

    @property
    def key(self) -> NameKey:
        return ("host", f"[{self.address}]:{self.port}" if ":" in self.address else f"{self.address}:{self.port}")


NameRecord: TypeAlias = Listening | Named | HostListener
NameKey: TypeAlias = tuple[str, str]
