"""Where the endpoints of other hosts are, and which addresses they and reservations hold: an index of the snapshot."""

from __future__ import annotations

import dataclasses
from ipaddress import ip_address
from typing import TypeVar

from immutables import Map

from linkspan.model.cluster import Remote, Reservation
from linkspan.model.pages import place

K = TypeVar("K")
V = TypeVar("V")
Place = tuple[str, int]  # network id, address as an integer


@dataclasses.dataclass(frozen=True, slots=True)
class Elsewhere:
    on: Map[str, Map[str, None]] = dataclasses.field(default_factory=Map)  # network id → ids of remote endpoints
    at: Map[str, Map[str, None]] = dataclasses.field(default_factory=Map)  # host id → the same
    present: Map[tuple[str, str], int] = dataclasses.field(default_factory=Map)  # network id, host id → how many
    # → who holds it: a remote endpoint, a reservation, or both, which are one container's then
    holders: Map[Place, tuple[str, ...]] = dataclasses.field(default_factory=Map)
    kept: Map[str, Map[str, None]] = dataclasses.field(default_factory=Map)  # container id → ids of its reservations
    pages: Map[tuple[str, int], int] = dataclasses.field(default_factory=Map)  # the same as pages of bits
    macs: Map[tuple[str, str], tuple[str, ...]] = dataclasses.field(default_factory=Map)  # → ids of remote endpoints

    def held(self, network_id: str, page: int) -> int:
        return self.pages.get((network_id, page), 0)

    def reserved(self, network_id: str, address: str) -> bool:
        """Whether the address belongs to an identity."""
        return any("/" in id_ for id_ in self.holders.get((network_id, int(ip_address(address))), ()))

    def alike(self, remote: Remote) -> set[str]:
        """The remote endpoints with an address or the MAC of this one, itself among them.

        There are others only for moments, while it is not yet known here that one has gone; or where two hosts at once
        gave the same MAC, as users asked.
        """
        found = set(self.macs.get((remote.network_id, remote.mac), ()))
        for place_ in _places(remote):
            found.update(id_ for id_ in self.holders.get(place_, ()) if "/" not in id_)
        return found

    def with_remote(self, old: Remote | None, new: Remote | None) -> Elsewhere:
        on, at, present = self.on, self.at, self.present
        if old:
            on, at = _without(on, old.network_id, old.id), _without(at, old.host_id, old.id)
            there = (old.network_id, old.host_id)
            present = _set_or_delete(present, there, present[there] - 1)
        if new:
            on, at = _with(on, new.network_id, new.id), _with(at, new.host_id, new.id)
            there = (new.network_id, new.host_id)
            present = present.set(there, present.get(there, 0) + 1)
        macs = self._with_mac(old, new)
        return dataclasses.replace(self._with_addresses(old, new), on=on, at=at, present=present, macs=macs)

    def _with_mac(self, old: Remote | None, new: Remote | None) -> Map[tuple[str, str], tuple[str, ...]]:
        had, has = ((r.network_id, r.mac) if r and r.mac else None for r in (old, new))
        macs = self.macs
        if had == has:
            return macs
        if old and had:
            macs = _set_or_delete(macs, had, tuple(id_ for id_ in macs[had] if id_ != old.id))
        if new and has:
            macs = macs.set(has, tuple(sorted((*macs.get(has, ()), new.id))))
        return macs

    def with_reservation(self, old: Reservation | None, new: Reservation | None) -> Elsewhere:
        kept = self.kept
        if old and old.holder:
            kept = _without(kept, old.holder, old.id)
        if new and new.holder:
            kept = _with(kept, new.holder, new.id)
        return dataclasses.replace(self._with_addresses(old, new), kept=kept)

    def _with_addresses(self, old: Remote | Reservation | None, new: Remote | Reservation | None) -> Elsewhere:
        holders, pages = self.holders, self.pages
        gone, come = set(_places(old)), set(_places(new))
        for key in gone - come:
            left = tuple(id_ for id_ in holders[key] if old is None or id_ != old.id)
            holders = _set_or_delete(holders, key, left)
        for key in come - gone:
            holders = holders.set(key, tuple(sorted((*holders.get(key, ()), new.id if new else ""))))
        for network_id, address in gone ^ come:
            page, bit = place(address)
            bits = pages.get((network_id, page), 0)
            held = (network_id, address) in holders
            pages = _set_or_delete(pages, (network_id, page), bits | bit if held else bits & ~bit)
        return self if gone == come else dataclasses.replace(self, holders=holders, pages=pages)


def _places(record: Remote | Reservation | None) -> list[Place]:
    if record is None:
        return []
    return [(record.network_id, int(ip_address(a))) for a in (record.address, record.address6) if a]


def _with(index: Map[str, Map[str, None]], key: str, id_: str) -> Map[str, Map[str, None]]:
    return index.set(key, index.get(key, Map()).set(id_, None))


def _without(index: Map[str, Map[str, None]], key: str, id_: str) -> Map[str, Map[str, None]]:
    return _set_or_delete(index, key, index[key].delete(id_))


def _set_or_delete(map_: Map[K, V], key: K, value: V) -> Map[K, V]:
    return map_.set(key, value) if value else map_.delete(key) if key in map_ else map_
