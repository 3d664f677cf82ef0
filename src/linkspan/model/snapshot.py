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
from linkspan.model.container import Container
from linkspan.model.endpoint import Binding, Endpoint, Sandbox
from linkspan.model.network import Network
from linkspan.model.volume import Volume

Record: TypeAlias = Container | Network | Sandbox | Endpoint | Volume
KINDS: dict[str, type[Record]] = {
    "network": Network,
    "volume": Volume,
    "container": Container,
    "sandbox": Sandbox,
    "endpoint": Endpoint,
}
K = TypeVar("K")
V = TypeVar("V")
_NAMES = {type_: kind for kind, type_ in KINDS.items()}


@dataclasses.dataclass(frozen=True, slots=True)
class Write:
    """One record put (`record`) or dropped (None) under its kind and id."""

    kind: str
    id: str
    record: Record | None


def put(record: Record) -> Write:
    return Write(_NAMES[type(record)], record.name if isinstance(record, Volume) else record.id, record)


def drop(record: Record) -> Write:
    return dataclasses.replace(put(record), record=None)


@dataclasses.dataclass(frozen=True, slots=True)
class Snapshot:
    containers: Map[str, Container] = dataclasses.field(default_factory=Map)
    networks: Map[str, Network] = dataclasses.field(default_factory=Map)
    sandboxes: Map[str, Sandbox] = dataclasses.field(default_factory=Map)
    endpoints: Map[str, Endpoint] = dataclasses.field(default_factory=Map)
    volumes: Map[str, Volume] = dataclasses.field(default_factory=Map)
    # Indexes, kept by `after`.
    container_names: Map[str, str] = dataclasses.field(default_factory=Map)
    sandbox_of: Map[str, str] = dataclasses.field(default_factory=Map)  # container id → sandbox id
    endpoints_of: Map[str, tuple[str, ...]] = dataclasses.field(default_factory=Map)  # container id → in order
    endpoints_on: Map[str, Map[str, None]] = dataclasses.field(default_factory=Map)  # network id → endpoint ids
    # (network id, address as an integer) → endpoint id
    address_holders: Map[tuple[str, int], str] = dataclasses.field(default_factory=Map)
    # (protocol, port) → (address, endpoint id) of each binding there
    port_holders: Map[tuple[str, int], tuple[tuple[str, str], ...]] = dataclasses.field(default_factory=Map)

    # -- looking things up ------------------------------------------------------------------------------------------

    def container(self, ref: str) -> Container:
        """By id, name or unique prefix of an id. Raises NotFound."""
        if found := self.containers.get(ref) or self.containers.get(self.container_names.get(ref.lstrip("/"), "")):
            return found
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

    def holds_port(self, protocol: str, address: str, port: int, wildcard: str) -> str | None:
        """The endpoint that holds a host port so that `address` cannot have it too; `wildcard` covers all."""
        for held, endpoint in self.port_holders.get((protocol, port), ()):
            if held == address or wildcard in (held, address):
                return endpoint
        return None

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
        records: Map[str, Record] = getattr(self, kind + "es" if kind == "sandbox" else kind + "s")
        return records

    def _after(self, write: Write) -> Snapshot:
        old, new = self.get(write.kind, write.id), write.record
        field = "sandboxes" if write.kind == "sandbox" else write.kind + "s"
        records = self._records(write.kind)
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
        return dataclasses.replace(self, **changed)

    def _index_container(self, old: Record | None, new: Record | None) -> dict[str, object]:
        names = self.container_names
        if isinstance(old, Container) and names.get(old.name) == old.id:
            names = names.delete(old.name)
        if isinstance(new, Container):
            names = names.set(new.name, new.id)
        return {"container_names": names}

    def _index_sandbox(self, old: Record | None, new: Record | None) -> dict[str, object]:
        owners = self.sandbox_of
        if isinstance(old, Sandbox) and owners.get(old.container_id) == old.id:
            owners = owners.delete(old.container_id)
        if isinstance(new, Sandbox):
            owners = owners.set(new.container_id, new.id)
        return {"sandbox_of": owners}

    def _index_endpoint(self, old: Record | None, new: Record | None) -> dict[str, object]:
        of, on = self.endpoints_of, self.endpoints_on
        addresses, ports = self.address_holders, self.port_holders
        before = (old.network_id, old.container_id) if isinstance(old, Endpoint) else None
        after = (new.network_id, new.container_id) if isinstance(new, Endpoint) else None
        if isinstance(old, Endpoint):
            if before != after:
                of = _set_or_delete(of, old.container_id, tuple(e for e in of[old.container_id] if e != old.id))
                on = _set_or_delete(on, old.network_id, on[old.network_id].delete(old.id))
            for address in filter(None, (old.address, old.address6)):
                addresses = addresses.delete((old.network_id, int(ip_address(address))))
            for b in old.bindings:
                left = tuple(h for h in ports[b.protocol, b.port] if h != (b.address, old.id))
                ports = _set_or_delete(ports, (b.protocol, b.port), left)
        if isinstance(new, Endpoint):
            if before != after:
                of = of.set(new.container_id, (*of.get(new.container_id, ()), new.id))
                on = on.set(new.network_id, on.get(new.network_id, Map()).set(new.id, None))
            for address in filter(None, (new.address, new.address6)):
                addresses = addresses.set((new.network_id, int(ip_address(address))), new.id)
            ports = _with_bindings(ports, new.bindings, new.id)
        return {"endpoints_of": of, "endpoints_on": on, "address_holders": addresses, "port_holders": ports}


def _with_bindings(
    ports: Map[tuple[str, int], tuple[tuple[str, str], ...]], bindings: tuple[Binding, ...], endpoint: str
) -> Map[tuple[str, int], tuple[tuple[str, str], ...]]:
    for b in bindings:
        ports = ports.set((b.protocol, b.port), (*ports.get((b.protocol, b.port), ()), (b.address, endpoint)))
    return ports


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
