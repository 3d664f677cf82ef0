"""Who may see which name from which sandbox. Pure: records in, answers out."""

from __future__ import annotations

import dataclasses
import ipaddress
from collections.abc import Iterable, Iterator

from linkspan.resolver import wire
from linkspan.state.names import HostListener, Listening, Named, NameKey, NameRecord

TTL = 600  # seconds, as Docker's
HOST_TTL = 5  # for the host, whose own resolver keeps answers, and is not told when they change
DOMAIN = "linkspan"
_REVERSE = (".in-addr.arpa", ".ip6.arpa")


@dataclasses.dataclass(frozen=True, slots=True)
class Answer:
    """What is said of a name of ours: perhaps nothing, which is an answer too."""

    rcode: int = wire.NOERROR
    records: tuple[bytes, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class _Entry:
    """A Named with what is answered of it made ready."""

    record: Named
    addresses: tuple[tuple[str, bytes], ...]  # as it is asked for in reverse, and packed
    reverse: bytes  # the PTR record for neighbours, b"" where it has no name
    host_reverse: bytes


class Zone:
    """Everything the resolver knows."""

    def __init__(self) -> None:
        self.sandboxes: dict[str, Listening] = {}
        self.listeners: dict[NameKey, HostListener] = {}
        self._entries: dict[str, _Entry] = {}  # by endpoint id
        self._names: dict[str, dict[str, dict[str, None]]] = {}  # network id → name → endpoint ids, oldest first
        self._addresses: dict[str, dict[str, None]] = {}  # address in reverse → endpoint ids
        self._host_names: dict[str, dict[str, None]] = {}  # `name.network` → endpoint ids
        self._joined: dict[str, list[_Entry]] = {}  # sandbox id → its own endpoints, in order

    def keys(self) -> set[NameKey]:
        return {
            *(("sandbox", id_) for id_ in self.sandboxes),
            *(("endpoint", id_) for id_ in self._entries),
            *self.listeners,
        }

    def put(self, record: NameRecord) -> None:
        self.drop(record.key)
        match record:
            case Listening():
                self.sandboxes[record.id] = record
            case HostListener():
                self.listeners[record.key] = record
            case Named():
                self._put_endpoint(_ready(record))

    def drop(self, key: NameKey) -> None:
        """What is not there is no error."""
        kind, id_ = key
        if kind == "sandbox":
            self.sandboxes.pop(id_, None)
        elif kind == "host":
            self.listeners.pop(key, None)
        elif entry := self._entries.pop(id_, None):
            self._drop_endpoint(entry)

    def _put_endpoint(self, entry: _Entry) -> None:
        record = entry.record
        self._entries[record.id] = entry
        for name in record.names:
            self._names.setdefault(record.network, {}).setdefault(name.lower(), {})[record.id] = None
        for reverse, _ in entry.addresses:
            self._addresses.setdefault(reverse, {})[record.id] = None
        self._host_names.setdefault(_on_host(record), {})[record.id] = None
        if record.names and record.sandbox:  # on another host it has none
            joined = [*self._joined.get(record.sandbox, ()), entry]
            self._joined[record.sandbox] = sorted(joined, key=lambda entry: entry.record.rank)

    def _drop_endpoint(self, entry: _Entry) -> None:
        record = entry.record
        names = self._names.get(record.network, {})
        for name in record.names:
            _take(names, name.lower(), record.id)
        if not names:
            self._names.pop(record.network, None)
        for reverse, _ in entry.addresses:
            _take(self._addresses, reverse, record.id)
        _take(self._host_names, _on_host(record), record.id)
        joined = [other for other in self._joined.pop(record.sandbox, ()) if other is not entry]
        if joined:
            self._joined[record.sandbox] = joined

    # -- from a sandbox -----------------------------------------------------------------------------------------------

    def answer(self, sandbox: str, query: wire.Query) -> Answer | None:
        """None where it is none of our names, and has to be asked for elsewhere."""
        name = query.name
        if not name or query.class_ not in (wire.IN, wire.ANY_CLASS):
            return None
        if query.type == wire.PTR and name.endswith(_REVERSE):
            return self._reverse(sandbox, name)
        found = self._resolve(sandbox, name)
        return _addresses(found, query.type, TTL) if found else None

    def _resolve(self, sandbox: str, name: str) -> list[_Entry]:
        """`name` itself on any network of the sandbox, and then `a.b` as a on the network b, at every dot.

        On each network a link of the sandbox's own comes before what the name means to everybody.
        """
        joined = self._joined.get(sandbox, ())
        for wanted, network in _splits(name):
            here = [e for e in joined if not network or e.record.network_name.lower() == network]
            for entry in here:
                for alias, target in entry.record.links.items():
                    if alias.lower() == wanted and (found := self._on(entry.record.network, target.lower())):
                        return found
            for entry in here:
                if found := self._on(entry.record.network, wanted):
                    return found
        return []

    def _on(self, network: str, name: str) -> list[_Entry]:
        return [self._entries[id_] for id_ in self._names.get(network, {}).get(name, ())]

    def _reverse(self, sandbox: str, name: str) -> Answer | None:
        networks = {entry.record.network for entry in self._joined.get(sandbox, ())}
        for id_ in self._addresses.get(name, ()):
            entry = self._entries[id_]
            if entry.record.network in networks and entry.reverse:
                return Answer(records=(entry.reverse,))
        return None

    # -- from the host ------------------------------------------------------------------------------------------------

    def host_answer(self, query: wire.Query) -> Answer:
        """`name.network.linkspan`, and its reverse. Whatever else is asked is not for us."""
        name = query.name or ""
        if query.class_ not in (wire.IN, wire.ANY_CLASS):
            return Answer(wire.REFUSED)
        if name.endswith(_REVERSE):
            ids = self._addresses.get(name, ())
            records = [self._entries[id_].host_reverse for id_ in ids] if query.type == wire.PTR else []
            return Answer(records=tuple(filter(None, records))) if ids else Answer(wire.REFUSED)
        if name == DOMAIN:
            return Answer()
        if not name.endswith(f".{DOMAIN}"):
            return Answer(wire.REFUSED)
        found = [self._entries[id_] for id_ in self._host_names.get(name.removesuffix(f".{DOMAIN}"), ())]
        return _addresses(found, query.type, HOST_TTL) if found else Answer(wire.NXDOMAIN)


def _ready(record: Named) -> _Entry:
    packed = [ipaddress.ip_address(address) for address in record.addresses]
    reverse = next((r for name in record.names if (r := _pointer(f"{name}.{record.network_name}", TTL))), b"")
    return _Entry(
        record,
        tuple((address.reverse_pointer, address.packed) for address in packed),
        reverse,
        _pointer(f"{_on_host(record)}.{DOMAIN}", HOST_TTL),
    )


def _pointer(name: str, ttl: int) -> bytes:
    """b"" where a name is none in DNS: too long, or not ASCII. Nobody can ask for it either."""
    try:
        return wire.pointer_record(name, ttl)
    except ValueError:
        return b""


def _on_host(record: Named) -> str:
    return f"{record.host_name}.{record.network_name}".lower()


def _splits(name: str) -> Iterator[tuple[str, str]]:
    """`a.b.c` → (`a.b.c`, any network), (`a.b`, `c`), (`a`, `b.c`)."""
    yield name, ""
    end = name.rfind(".")
    while end > 0:
        yield name[:end], name[end + 1 :]
        end = name.rfind(".", 0, end)


def _addresses(found: Iterable[_Entry], type_: int, ttl: int) -> Answer:
    """The addresses of the family asked for. A name of ours has nothing else, and nobody else knows it."""
    length = {wire.A: 4, wire.AAAA: 16}.get(type_)
    packed = (address for entry in found for _, address in entry.addresses if len(address) == length)
    return Answer(records=tuple(wire.address_record(address, ttl) for address in packed))


def _take(index: dict[str, dict[str, None]], key: str, id_: str) -> None:
    ids = index.get(key)
    if ids is not None:
        ids.pop(id_, None)
        if not ids:
            del index[key]
