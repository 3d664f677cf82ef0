"""Every record at one moment, and how the next moment follows from it.

A snapshot is a persistent value: `after` shares all that did not change, so that keeping the state before a decision
costs nothing, and the indexes that decisions look things up in are never out of step with the records.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from ipaddress import ip_address
from typing import Any, TypeAlias, TypeVar

from immutables import Map

from linkspan.errors import InvalidArgument, NotFound
from linkspan.model.bgp import BgpConfiguration, BgpFilter, BgpPeer
from linkspan.model.claims import Claims, given_addresses
from linkspan.model.cluster import Arrival, Block, Host, Move, Remote, Reservation, Subscription
from linkspan.model.container import Container
from linkspan.model.elsewhere import Elsewhere
from linkspan.model.endpoint import Binding, Endpoint, Sandbox
from linkspan.model.ippool import IpPool, IpReservation
from linkspan.model.network import Network
from linkspan.model.pages import place
from linkspan.model.policy import HostEndpoint, NetworkSet, Policy, Tier
from linkspan.model.port import ANY_IPV4, ANY_IPV6, any_of, clash, each_family, version_of
from linkspan.model.resource import Resource
from linkspan.model.resting import Resting
from linkspan.model.selections import Selections
from linkspan.model.subnet import HostSubnet
from linkspan.model.volume import Volume

Record: TypeAlias = (
    Container
    | Network
    | Sandbox
    | Endpoint
    | Volume
    | Host
    | Subscription
    | Remote
    | Block
    | Reservation
    | HostSubnet
    | Move
    | Arrival
    | Resource
)
KINDS: dict[str, type[Record]] = {
    "network": Network,
    "volume": Volume,
    "container": Container,
    "sandbox": Sandbox,
    "endpoint": Endpoint,
    "host": Host,
    "subscription": Subscription,
    "remote": Remote,
    "block": Block,
    "reservation": Reservation,
    "subnet": HostSubnet,
    "move": Move,
    "arrival": Arrival,
    "policy": Policy,
    "tier": Tier,
    "networkset": NetworkSet,
    "hostendpoint": HostEndpoint,
    "ippool": IpPool,
    "bgpconfiguration": BgpConfiguration,
    "bgppeer": BgpPeer,
    "bgpfilter": BgpFilter,
    "ipreservation": IpReservation,
}
RESOURCES = tuple(kind for kind, type_ in KINDS.items() if issubclass(type_, Resource))
# The snapshot's field for records of a kind, where that is not the kind with an s.
_FIELDS = {
    "sandbox": "sandboxes",
    "policy": "policies",
    "networkset": "network_sets",
    "hostendpoint": "host_endpoints",
    "ippool": "ip_pools",
    "ipreservation": "ip_reservations",
    "bgpconfiguration": "bgp_configurations",
    "bgppeer": "bgp_peers",
    "bgpfilter": "bgp_filters",
}
K = TypeVar("K")
V = TypeVar("V")
NAMES = {type_: kind for kind, type_ in KINDS.items()}
_FAMILY = {ANY_IPV4: "IPv4", ANY_IPV6: "IPv6"}


@dataclasses.dataclass(frozen=True, slots=True)
class Write:
    """One record put (`record`) or dropped (None) under its kind and id."""

    kind: str
    id: str
    record: Record | None


def put(record: Record) -> Write:
    return Write(NAMES[type(record)], record.name if isinstance(record, Volume) else record.id, record)


def drop(record: Record) -> Write:
    return dataclasses.replace(put(record), record=None)


@dataclasses.dataclass(frozen=True, slots=True)
class Snapshot:
    containers: Map[str, Container] = dataclasses.field(default_factory=Map)
    networks: Map[str, Network] = dataclasses.field(default_factory=Map)
    sandboxes: Map[str, Sandbox] = dataclasses.field(default_factory=Map)
    endpoints: Map[str, Endpoint] = dataclasses.field(default_factory=Map)
    volumes: Map[str, Volume] = dataclasses.field(default_factory=Map)
    # Of the cluster: the other hosts, endpoints on them, and whose which addresses are.
    hosts: Map[str, Host] = dataclasses.field(default_factory=Map)
    subscriptions: Map[str, Subscription] = dataclasses.field(default_factory=Map)  # by network id
    remotes: Map[str, Remote] = dataclasses.field(default_factory=Map)
    blocks: Map[str, Block] = dataclasses.field(default_factory=Map)
    reservations: Map[str, Reservation] = dataclasses.field(default_factory=Map)
    subnets: Map[str, HostSubnet] = dataclasses.field(default_factory=Map)  # of networks whose hosts have one each
    moves: Map[str, Move] = dataclasses.field(default_factory=Map)
    arrivals: Map[str, Arrival] = dataclasses.field(default_factory=Map)
    # Resources as Calico has them.
    policies: Map[str, Policy] = dataclasses.field(default_factory=Map)
    tiers: Map[str, Tier] = dataclasses.field(default_factory=Map)  # that somebody has made
    network_sets: Map[str, NetworkSet] = dataclasses.field(default_factory=Map)
    host_endpoints: Map[str, HostEndpoint] = dataclasses.field(default_factory=Map)
    ip_pools: Map[str, IpPool] = dataclasses.field(default_factory=Map)
    ip_reservations: Map[str, IpReservation] = dataclasses.field(default_factory=Map)
    bgp_configurations: Map[str, BgpConfiguration] = dataclasses.field(default_factory=Map)
    bgp_peers: Map[str, BgpPeer] = dataclasses.field(default_factory=Map)
    bgp_filters: Map[str, BgpFilter] = dataclasses.field(default_factory=Map)
    # Indexes, kept by `after`.
    container_names: Map[str, str] = dataclasses.field(default_factory=Map)
    linked_by: Map[str, tuple[str, ...]] = dataclasses.field(default_factory=Map)  # container id → those linked to it
    sandbox_of: Map[str, str] = dataclasses.field(default_factory=Map)  # container id → sandbox id
    endpoints_of: Map[str, tuple[str, ...]] = dataclasses.field(default_factory=Map)  # container id → in order
    endpoints_on: Map[str, Map[str, None]] = dataclasses.field(default_factory=Map)  # network id → endpoint ids
    # network id → how many endpoints are on each of its bridges
    segments_on: Map[str, Map[int, int]] = dataclasses.field(default_factory=Map)
    # (network id, address as an integer) → endpoint id
    address_holders: Map[tuple[str, int], str] = dataclasses.field(default_factory=Map)
    # (protocol, port) → (address, endpoint id) of each binding there
    port_holders: Map[tuple[str, int], tuple[tuple[str, str], ...]] = dataclasses.field(default_factory=Map)
    # The same as pages of bits: (network id, page), and (protocol, address or "IPv4" or "IPv6" for any of them, page)
    address_pages: Map[tuple[str, int], int] = dataclasses.field(default_factory=Map)
    port_pages: Map[tuple[str, str, int], int] = dataclasses.field(default_factory=Map)

    blocks_on: Map[str, Map[str, None]] = dataclasses.field(default_factory=Map)  # network id → block ids
    subnets_on: Map[str, Map[str, None]] = dataclasses.field(default_factory=Map)  # network id → subnet ids
    # network id → ids of this host's subnets: one, but for the moment in which it gets another
    own_subnets: Map[str, tuple[str, ...]] = dataclasses.field(default_factory=Map)
    elsewhere: Elsewhere = dataclasses.field(default_factory=Elsewhere)  # where remote endpoints are
    selections: Selections = dataclasses.field(default_factory=Selections, compare=False)  # whom policies select
    claims: Claims = dataclasses.field(default_factory=Claims)  # what containers were given by hand
    resting: Resting = dataclasses.field(default_factory=Resting, compare=False)  # what was seen: no index, a memory

    # -- looking things up ------------------------------------------------------------------------------------------

    def container(self, ref: str) -> Container:
        """By id, name, unique prefix of an id, or the name of a link to it (`web/db`). Raises NotFound."""
        if found := self.containers.get(ref) or self.containers.get(self.container_names.get(ref.lstrip("/"), "")):
            return found
        parent, slash, alias = ref.removeprefix("/").partition("/")
        if slash and (owner := self.containers.get(self.container_names.get(parent, ""))):
            for link in owner.host_config.links or ():
                id_, _, name = link.partition(":")
                if name == alias and (linked := self.containers.get(id_)):
                    return linked
        return self.containers[_unique(ref, self.containers, f"No such container: {ref}", "container")]

    def network(self, ref: str) -> Network:
        """By id, name or unique prefix of an id. Raises NotFound."""
        if found := self.networks.get(ref):
            return found
        named = [network for network in self.networks.values() if network.name == ref]
        if len(named) == 1:
            return named[0]
        return self.networks[_unique(ref, self.networks, f"network {ref} not found", "network")]

    def sandbox(self, container: Container) -> Sandbox | None:
        """The container's own, while it runs; one that joins another's has none."""
        return self.sandboxes.get(self.sandbox_of.get(container.id, ""))

    def endpoints_in(self, container: Container) -> tuple[Endpoint, ...]:
        return tuple(self.endpoints[id_] for id_ in self.endpoints_of.get(container.id, ()))

    def endpoints_at(self, network: Network) -> Iterator[Endpoint]:
        return (self.endpoints[id_] for id_ in self.endpoints_on.get(network.id, Map()))

    def remotes_at(self, network: Network) -> Iterator[Remote]:
        """Endpoints that other hosts have on the network: of one that this host follows, all."""
        return (self.remotes[id_] for id_ in self.elsewhere.on.get(network.id, Map()))

    def blocks_of(self, network: Network) -> Iterator[Block]:
        """The parts of the network's subnets that hosts take their addresses from."""
        return (self.blocks[id_] for id_ in self.blocks_on.get(network.id, Map()))

    def reservations_of(self, container: Container) -> Iterator[Reservation]:
        """What is reserved for a container, on every network."""
        return (self.reservations[id_] for id_ in self.elsewhere.kept.get(container.id, Map()))

    def subnets_at(self, network: Network) -> Iterator[HostSubnet]:
        """Every host's part of the network."""
        return (self.subnets[id_] for id_ in self.subnets_on.get(network.id, Map()))

    def own_subnet(self, network: Network) -> HostSubnet | None:
        return self.subnets.get(self.own_subnets.get(network.id, ("",))[0])

    def remote_holder(self, network_id: str, address: int) -> Remote | None:
        """The endpoint on another host that has the address."""
        holders = self.elsewhere.holders.get((network_id, address), ())
        return next((self.remotes[id_] for id_ in holders if id_ in self.remotes), None)

    def holds_port(self, protocol: str, address: str, port: int) -> str | None:
        """The endpoint that holds a host port so that `address` cannot have it too."""
        for held, endpoint in self.port_holders.get((protocol, port), ()):
            if clash(held, address):
                return endpoint
        return None

    def held_addresses(self, network_id: str, page: int) -> int:
        """Bits of the addresses, as integers, that endpoints of a network hold, here or on other hosts, or that are
        reserved."""
        return self.address_pages.get((network_id, page), 0) | self.elsewhere.held(network_id, page)

    def held_ports(self, protocol: str, address: str, page: int) -> int:
        """Bits of the host ports that `address` cannot have: `holds_port` for a page of them."""
        bits, pages = 0, self.port_pages
        for own in each_family(address):
            wildcard = any_of(version_of(own))
            if own == wildcard:
                bits |= pages.get((protocol, _FAMILY[wildcard], page), 0)
            else:
                bits |= pages.get((protocol, own, page), 0) | pages.get((protocol, wildcard, page), 0)
        return bits

    def resources(self, kind: str) -> Map[str, Resource]:
        """All of one kind out of RESOURCES."""
        found: Map[str, Resource] = getattr(self, _field(kind))
        return found

    # -- the next moment --------------------------------------------------------------------------------------------

    def get(self, kind: str, id_: str) -> Record | None:
        found: Record | None = self._records(kind).get(id_)
        return found

    def inverse(self, writes: Iterable[Write]) -> tuple[Write, ...]:
        """The writes that take `after(writes)` back to this snapshot; what is new goes first, to be in nobody's way."""
        keys = dict.fromkeys((w.kind, w.id) for w in writes)
        old = [Write(kind, id_, self.get(kind, id_)) for kind, id_ in reversed(keys)]
        return tuple(sorted(old, key=lambda write: write.record is not None))

    def after(self, writes: Iterable[Write]) -> Snapshot:
        snapshot = self
        for write in writes:
            snapshot = snapshot._after(write)
        return snapshot

    def _records(self, kind: str) -> Map[str, Record]:
        records: Map[str, Record] = getattr(self, _field(kind))
        return records

    def _after(self, write: Write) -> Snapshot:
        old, new = self.get(write.kind, write.id), write.record
        field, records = _field(write.kind), self._records(write.kind)
        if old is new is None:
            return self
        changed: dict[str, Any] = {field: records.delete(write.id) if new is None else records.set(write.id, new)}
        match write.kind:
            case "container":
                changed |= self._index_container(old, new)
            case "sandbox":
                changed |= self._index_sandbox(old, new)
            case "endpoint":
                changed |= self._index_endpoint(old, new)
            case "block":
                changed |= self._index_block(old, new)
            case "subnet":
                changed |= self._index_subnet(old, new)
            case "remote" | "reservation":
                changed |= self._index_elsewhere(old, new)
        after = dataclasses.replace(self, **changed)
        selections = self.selections.after(after, write.kind, write.id)
        return after if selections is self.selections else dataclasses.replace(after, selections=selections)

    def _index_container(self, old: Record | None, new: Record | None) -> dict[str, object]:
        names, linked = self.container_names, self.linked_by
        had, has = (c if isinstance(c, Container) else None for c in (old, new))
        if had and names.get(had.name) == had.id:
            names = names.delete(had.name)
        if has:
            names = names.set(has.name, has.id)
        gone, come = _linked_ids(had), _linked_ids(has)
        for id_ in gone - come:
            linked = _set_or_delete(linked, id_, tuple(one for one in linked[id_] if had is None or one != had.id))
        for id_ in come - gone:
            linked = linked.set(id_, tuple(sorted((*linked.get(id_, ()), has.id if has else ""))))
        changed = {"container_names": names, "linked_by": linked, "claims": self.claims.after(had, has)}
        return changed if has else changed | {"resting": self.resting.forgotten(had.id if had else "")}

    def _index_sandbox(self, old: Record | None, new: Record | None) -> dict[str, object]:
        owners = self.sandbox_of
        if isinstance(old, Sandbox) and owners.get(old.container_id) == old.id:
            owners = owners.delete(old.container_id)
        if isinstance(new, Sandbox):
            owners = owners.set(new.container_id, new.id)
        return {"sandbox_of": owners}

    def _index_endpoint(self, old: Record | None, new: Record | None) -> dict[str, object]:
        of, on = self.endpoints_of, self.endpoints_on
        before = (old.network_id, old.container_id) if isinstance(old, Endpoint) else None
        after = (new.network_id, new.container_id) if isinstance(new, Endpoint) else None
        if isinstance(old, Endpoint) and before != after:
            of = _set_or_delete(of, old.container_id, tuple(e for e in of[old.container_id] if e != old.id))
            on = _set_or_delete(on, old.network_id, on[old.network_id].delete(old.id))
        if isinstance(new, Endpoint) and before != after:
            of = of.set(new.container_id, (*of.get(new.container_id, ()), new.id))
            on = on.set(new.network_id, on.get(new.network_id, Map()).set(new.id, None))
        had, has = (e if isinstance(e, Endpoint) else None for e in (old, new))
        segments = _counted(_counted(self.segments_on, had, -1), has, 1)
        changed: dict[str, object] = {
            "segments_on": segments,
            "endpoints_of": of,
            "endpoints_on": on,
            "resting": self._remember(had, has, on),
        }
        return changed | self._index_addresses(had, has) | self._index_ports(had, has)

    def _index_block(self, old: Record | None, new: Record | None) -> dict[str, object]:
        on = self.blocks_on
        if isinstance(old, Block):
            on = _set_or_delete(on, old.network_id, on[old.network_id].delete(old.id))
        if isinstance(new, Block):
            on = on.set(new.network_id, on.get(new.network_id, Map()).set(new.id, None))
        return {"blocks_on": on}

    def _index_subnet(self, old: Record | None, new: Record | None) -> dict[str, object]:
        on, own = self.subnets_on, self.own_subnets
        if isinstance(old, HostSubnet):
            on = _set_or_delete(on, old.network_id, on[old.network_id].delete(old.id))
            others = tuple(id_ for id_ in own.get(old.network_id, ()) if id_ != old.id)
            own = _set_or_delete(own, old.network_id, others) if old.own else own
        if isinstance(new, HostSubnet):
            on = on.set(new.network_id, on.get(new.network_id, Map()).set(new.id, None))
            if new.own:
                own = own.set(new.network_id, tuple(sorted((*own.get(new.network_id, ()), new.id))))
        return {"subnets_on": on, "own_subnets": own}

    def _index_elsewhere(self, old: Record | None, new: Record | None) -> dict[str, object]:
        if isinstance(old or new, Remote):
            had, has = (r if isinstance(r, Remote) else None for r in (old, new))
            return {"elsewhere": self.elsewhere.with_remote(had, has)}
        before, after = (r if isinstance(r, Reservation) else None for r in (old, new))
        return {"elsewhere": self.elsewhere.with_reservation(before, after)}

    def _remember(self, old: Endpoint | None, new: Endpoint | None, on: Map[str, Map[str, None]]) -> Resting:
        endpoint = new or old
        if endpoint is None or (old and new and (old.address, old.address6) == (new.address, new.address6)):
            return self.resting
        container = self.containers.get(endpoint.container_id)
        settings = container.networks.get(endpoint.network_id) if container else None
        by_hand = given_addresses(settings) if settings else ()
        if new:
            return self.resting.given_out(new, by_hand=by_hand)
        return self.resting.given_back(endpoint, by_hand=by_hand, nobody_left=endpoint.network_id not in on)

    def _index_addresses(self, old: Endpoint | None, new: Endpoint | None) -> dict[str, object]:
        had, has = ((e.network_id, e.address, e.address6) if e else () for e in (old, new))
        if had == has:
            return {}
        holders, pages = self.address_holders, self.address_pages
        for key in _addresses(old):
            holders = holders.delete(key)
            pages = _with_bit(pages, key, held=False)
        for key in _addresses(new):
            holders = holders.set(key, new.id if new else "")
            pages = _with_bit(pages, key, held=True)
        return {"address_holders": holders, "address_pages": pages}

    def _index_ports(self, old: Endpoint | None, new: Endpoint | None) -> dict[str, object]:
        gone, come = (tuple(b for b in e.bindings if b.port) if e else () for e in (old, new))
        if gone == come:
            return {}
        before, after = set(gone), set(come)
        gone, come = tuple(b for b in gone if b not in after), tuple(b for b in come if b not in before)
        holders = self.port_holders
        for b in gone:
            left = tuple(h for h in holders[b.protocol, b.port] if not old or h != (b.address, old.id))
            holders = _set_or_delete(holders, (b.protocol, b.port), left)
        # One value for all the ports that nobody else holds: there may be thousands.
        alone = {b.address: ((b.address, new.id if new else ""),) for b in come}
        for b in come:
            others = holders.get((b.protocol, b.port), ())
            holding = (*others, *alone[b.address]) if others else alone[b.address]
            holders = holders.set((b.protocol, b.port), holding)
        return {"port_holders": holders, "port_pages": _port_pages(self.port_pages, holders, (*gone, *come))}


def _field(kind: str) -> str:
    return _FIELDS.get(kind, kind + "s")


def _linked_ids(container: Container | None) -> set[str]:
    return {link.partition(":")[0] for link in container.host_config.links or ()} if container else set()


def _counted(segments: Map[str, Map[int, int]], endpoint: Endpoint | None, change: int) -> Map[str, Map[int, int]]:
    if endpoint is None:
        return segments
    sizes = segments.get(endpoint.network_id, Map())
    sizes = _set_or_delete(sizes, endpoint.segment, sizes.get(endpoint.segment, 0) + change)
    return _set_or_delete(segments, endpoint.network_id, sizes)


def _addresses(endpoint: Endpoint | None) -> list[tuple[str, int]]:
    if endpoint is None:
        return []
    return [(endpoint.network_id, int(ip_address(a))) for a in (endpoint.address, endpoint.address6) if a]


def _with_bit(pages: Map[tuple[str, int], int], key: tuple[str, int], *, held: bool) -> Map[tuple[str, int], int]:
    page, bit = place(key[1])
    bits = pages.get((key[0], page), 0)
    return _set_or_delete(pages, (key[0], page), bits | bit if held else bits & ~bit)


def _port_pages(
    pages: Map[tuple[str, str, int], int],
    holders: Map[tuple[str, int], tuple[tuple[str, str], ...]],
    changed: Iterable[Binding],
) -> Map[tuple[str, str, int], int]:
    """The pages with the bits of the changed bindings as the holders are now. Each page is written once."""
    bits: dict[tuple[str, str, int], int] = {}
    for b in changed:
        page, bit = place(b.port)
        holding = {own for a, _ in holders.get((b.protocol, b.port), ()) for own in each_family(a)}
        for address in each_family(b.address):
            version = version_of(address)
            family = any(version_of(own) == version for own in holding)
            for name, held in ((_FAMILY[any_of(version)], family), (address, address in holding)):
                key = (b.protocol, name, page)
                before = bits[key] if key in bits else pages.get(key, 0)
                bits[key] = before | bit if held else before & ~bit
    for key, value in bits.items():
        pages = _set_or_delete(pages, key, value) if value or key in pages else pages
    return pages


def _set_or_delete(map_: Map[K, V], key: K, value: V) -> Map[K, V]:
    """Empty values leave no key behind, so that equal records always make equal indexes."""
    return map_.set(key, value) if value else map_.delete(key)


def _unique(ref: str, records: Iterable[str], missing: str, noun: str) -> str:
    matches = [id_ for id_ in records if ref and id_.startswith(ref)]
    if len(matches) > 1:
        raise InvalidArgument(f"Multiple IDs found with provided prefix: {ref} ({noun})")
    if not matches:
        raise NotFound(missing)
    return matches[0]
