"""What containers were given by hand (addresses, MACs, host ports): theirs while they exist, running or not.

An index over the containers' records. Two containers may have been given the same; an address or MAC belongs to the one
that was created first.
"""

from __future__ import annotations

import dataclasses
import ipaddress
from collections.abc import Iterator
from typing import TypeVar

from immutables import Map

from linkspan.model.container import Container, EndpointSettings
from linkspan.model.pages import place

K = TypeVar("K")
V = TypeVar("V")
Owner = tuple[str, str]  # when the container was created, and its id


@dataclasses.dataclass(frozen=True, slots=True)
class Claims:
    # (network id, address as an integer), and (network id, MAC) → those who were given it, the owner first
    addresses: Map[tuple[str, int], tuple[Owner, ...]] = dataclasses.field(default_factory=Map)
    macs: Map[tuple[str, str], tuple[Owner, ...]] = dataclasses.field(default_factory=Map)
    # The addresses as pages of bits: (network id, page)
    address_pages: Map[tuple[str, int], int] = dataclasses.field(default_factory=Map)
    # (protocol, page) → container id → bits of the host ports
    port_pages: Map[tuple[str, int], Map[str, int]] = dataclasses.field(default_factory=Map)

    def address_owner(self, network_id: str, address: int) -> str:
        """The id of the container that the address belongs to, or ""."""
        return self.addresses.get((network_id, address), (("", ""),))[0][1]

    def mac_owner(self, network_id: str, mac: str) -> str:
        """The same for a MAC address, in lower case with colons."""
        return self.macs.get((network_id, mac), (("", ""),))[0][1]

    def claimed_addresses(self, network_id: str, page: int) -> int:
        """Bits of the addresses on a network that somebody was given."""
        return self.address_pages.get((network_id, page), 0)

    def claimed_ports(self, protocol: str, page: int) -> int:
        """Bits of the host ports that somebody was given, at whatever address."""
        bits = 0
        for some in self.port_pages.get((protocol, page), Map()).values():
            bits |= some
        return bits

    def after(self, old: Container | None, new: Container | None) -> Claims:
        """The index when one container's record has changed."""
        claims = self
        if old is None or new is None or old.networks is not new.networks or old.plugs is not new.plugs:
            claims = claims._with_networks(old, new)
        if old is None or new is None or old.host_config.port_bindings is not new.host_config.port_bindings:
            claims = claims._with_ports(old, new)
        return claims

    def _with_networks(self, old: Container | None, new: Container | None) -> Claims:
        addresses, macs, pages = self.addresses, self.macs, self.address_pages
        gone, come = set(_addresses(old)), set(_addresses(new))
        for key in gone - come:
            addresses = _without(addresses, key, old)
        for key in come - gone:
            addresses = _with(addresses, key, new)
        for network_id, address in gone ^ come:
            page, bit = place(address)
            bits = pages.get((network_id, page), 0)
            held = (network_id, address) in addresses
            pages = _set_or_delete(pages, (network_id, page), bits | bit if held else bits & ~bit)
        gone_macs, come_macs = set(_macs(old)), set(_macs(new))
        for mac in gone_macs - come_macs:
            macs = _without(macs, mac, old)
        for mac in come_macs - gone_macs:
            macs = _with(macs, mac, new)
        return dataclasses.replace(self, addresses=addresses, macs=macs, address_pages=pages)

    def _with_ports(self, old: Container | None, new: Container | None) -> Claims:
        pages = self.port_pages
        before, after = _port_bits(old), _port_bits(new)
        id_ = (old or new).id if old or new else ""  # type: ignore[union-attr]
        for key in before.keys() | after.keys():
            some = pages.get(key, Map())
            some = some.set(id_, after[key]) if key in after else some.delete(id_)
            pages = _set_or_delete(pages, key, some)
        return self if pages is self.port_pages else dataclasses.replace(self, port_pages=pages)


def given_addresses(settings: EndpointSettings) -> tuple[int, ...]:
    """The addresses that a user gave to one attachment, as integers; what is none is left out."""
    asked = settings.ipam_config
    found = []
    for text in (asked.ipv4_address, asked.ipv6_address) if asked else ():
        try:
            found.append(int(ipaddress.ip_address(text)))
        except ValueError:
            continue
    return tuple(found)


def plain_mac(text: str) -> str:
    """A MAC address in lower case with colons, as far as it is one."""
    return text.replace("-", ":").lower()


def _addresses(container: Container | None) -> Iterator[tuple[str, int]]:
    for network_id, settings in container.networks.items() if container else ():
        for address in given_addresses(settings):
            yield network_id, address
    for plug in container.plugs if container else ():
        if plug.network_id:
            yield plug.network_id, int(ipaddress.ip_address(plug.address))


def _macs(container: Container | None) -> Iterator[tuple[str, str]]:
    for network_id, settings in container.networks.items() if container else ():
        if settings.mac_address:
            yield network_id, plain_mac(settings.mac_address)


def _port_bits(container: Container | None) -> dict[tuple[str, int], int]:
    """The host ports given by number; a range is a choice."""
    found: dict[tuple[str, int], int] = {}
    for port, bindings in (container.host_config.port_bindings or {}).items() if container else ():
        for binding in bindings or ():
            if binding.host_port.isdecimal() and binding.host_port != "0":
                page, bit = place(int(binding.host_port))
                key = (port.partition("/")[2].lower() or "tcp", page)
                found[key] = found.get(key, 0) | bit
    return found


def _with(claims: Map[K, tuple[Owner, ...]], key: K, container: Container | None) -> Map[K, tuple[Owner, ...]]:
    if container is None:
        return claims
    return claims.set(key, tuple(sorted((*claims.get(key, ()), (container.created, container.id)))))


def _without(claims: Map[K, tuple[Owner, ...]], key: K, container: Container | None) -> Map[K, tuple[Owner, ...]]:
    if container is None:
        return claims
    return _set_or_delete(claims, key, tuple(owner for owner in claims[key] if owner[1] != container.id))


def _set_or_delete(map_: Map[K, V], key: K, value: V) -> Map[K, V]:
    return map_.set(key, value) if value else map_.delete(key) if key in map_ else map_
