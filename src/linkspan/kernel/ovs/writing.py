"""Objects of ours as operations on Open vSwitch's database."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from linkspan.errors import Conflict
from linkspan.kernel.ovs.database import Operation
from linkspan.kernel.ovs.rows import PortRow, Rows, as_map, as_set, new, reference
from linkspan.state.switch import UPLINK, VXLAN_PORT, OvsBridge, OvsPort, OvsUplink

MARK = "linkspan"  # the external id of ours
ADDRESS = "linkspan-address"  # of an uplink


def puts(rows: Rows, made: Sequence[object], card: Callable[[OvsUplink], str]) -> Iterator[Operation]:
    """Makes or changes them; `card` is the interface for an uplink, "" where there is none. Raises Conflict where a
    name is somebody else's."""
    ids = {item.name: f"b{number}" for number, item in enumerate(made) if isinstance(item, OvsBridge)}
    fresh = {name: id_ for name, id_ in ids.items() if rows.bridge(name) is None}
    for number, item in enumerate(made):
        match item:
            case OvsBridge():
                yield from _put_bridge(rows, item, f"b{number}")
            case OvsUplink():
                yield from _put_uplink(rows, item, card(item), f"u{number}")
            case OvsPort():
                yield from _put_port(rows, item, f"p{number}", fresh)


def removals(rows: Rows, gone: Sequence[object]) -> Iterator[Operation]:
    """As far as they are there, and ours; and what a port of ours has left that another took away."""
    used = {port.qos for port in rows.ports.values()}
    for uuid, said in rows.qos.items():
        if MARK in said and uuid not in used:
            yield _delete("QoS", uuid)
    for item in gone:
        match item:
            case OvsBridge(name=name) | OvsUplink(name=name):
                if (bridge := rows.bridge(name)) and MARK in bridge.external:
                    yield _mutate("Open_vSwitch", (), "bridges", "delete", reference(bridge.uuid))
                    for port in rows.ports_of(bridge):
                        yield from _without_qos(port)
            case OvsPort(name=name):
                port_ = rows.port(name)
                if port_ and MARK in port_.external and (bridge := rows.bridge_of(port_)):
                    yield _mutate("Bridge", reference(bridge.uuid), "ports", "delete", reference(port_.uuid))
                    yield from _without_qos(port_)


def _put_bridge(rows: Rows, item: OvsBridge, id_: str) -> Iterator[Operation]:
    settings = {
        "datapath_type": item.datapath,
        "fail_mode": "standalone",  # it switches as a switch does
        "external_ids": as_map({MARK: item.alias}),
        "other_config": as_map({"hwaddr": item.mac} if item.mac else {}),
    }
    # The host's end and the tunnels are apart: each host is the gateway of its own containers, by the same addresses.
    own = {"tag": _tag(item.tag), "protected": True}
    yield from _put(rows, item.name, id_, settings, own, item.mtu)


def _put_uplink(rows: Rows, item: OvsUplink, card: str, id_: str) -> Iterator[Operation]:
    settings = {
        "datapath_type": "netdev",
        "fail_mode": "secure",  # without flows nothing passes
        "external_ids": as_map({MARK: UPLINK, ADDRESS: item.address}),
    }
    yield from _put(rows, item.name, id_, settings, {"protected": False}, 0)
    bridge = rows.bridge(item.name)
    there = {port.name: port for port in rows.ports_of(bridge)} if bridge else {}
    for name, port in there.items():
        if bridge and name not in (item.name, card):
            yield _mutate("Bridge", reference(bridge.uuid), "ports", "delete", reference(port.uuid))
            yield from _without_qos(port)
    if card and card not in there:
        if rows.port(card):
            raise Conflict(f"interface {card} is a port of another bridge of Open vSwitch's")
        mark = {"external_ids": as_map({MARK: UPLINK})}
        place = reference(bridge.uuid) if bridge else new(id_)
        yield from _insert_port(card, f"{id_}c", mark, {"type": ""}, place)


def _put(
    rows: Rows, name: str, id_: str, settings: Mapping[str, object], own: Mapping[str, object], mtu: int
) -> Iterator[Operation]:
    """A bridge with its own port."""
    there = rows.bridge(name)
    requested = {"mtu_request": mtu} if mtu else {}
    if there is None:
        yield _insert("Interface", f"{id_}i", {"name": name, "type": "internal", **requested})
        yield _insert("Port", f"{id_}p", {"name": name, "interfaces": new(f"{id_}i"), **own})
        yield _insert("Bridge", id_, {"name": name, "ports": new(f"{id_}p"), **settings})
        yield _mutate("Open_vSwitch", (), "bridges", "insert", new(id_))
        return
    if MARK not in there.external:
        raise _foreign(f"bridge {name}")
    yield _update("Bridge", there.uuid, settings)
    if port := rows.port(name):
        yield _update("Port", port.uuid, own)
        for uuid in port.interfaces if requested else ():
            yield _update("Interface", uuid, requested)


def _put_port(rows: Rows, item: OvsPort, id_: str, fresh: Mapping[str, str]) -> Iterator[Operation]:
    settings = {
        "tag": _tag(item.tag),
        "protected": item.apart,
        "external_ids": as_map({MARK: item.alias, **dict(item.said)}),
    }
    interface = {"type": item.kind, "options": as_map(_options(item))}
    there, bridge = rows.port(item.name), rows.bridge(item.bridge)
    if bridge is None and item.bridge not in fresh:
        raise Conflict(f"there is no bridge {item.bridge} in Open vSwitch: ovs-vsctl add-br {item.bridge} makes one")
    if there and MARK not in there.external:
        raise _foreign(f"port {item.name}")
    if there and (owner := rows.bridge_of(there)):
        if owner != bridge:
            raise Conflict(f"port {item.name} is on Open vSwitch's bridge {owner.name} already")
        yield _update("Port", there.uuid, settings)
        for uuid in there.interfaces:
            yield _update("Interface", uuid, interface)
        return
    place = reference(bridge.uuid) if bridge else new(fresh[item.bridge])
    yield from _insert_port(item.name, id_, settings, interface, place)


def _insert_port(
    name: str, id_: str, settings: Mapping[str, object], interface: Mapping[str, object], bridge: Sequence[str]
) -> Iterator[Operation]:
    qos = {}
    if not interface["type"]:
        # Else the switch would take away whatever shapes the interface's traffic: ours and the administrator's.
        yield _insert("QoS", f"{id_}q", {"type": "linux-noop", "external_ids": as_map({MARK: name})})
        qos = {"qos": new(f"{id_}q")}
    yield _insert("Interface", f"{id_}i", {"name": name, **interface})
    yield _insert("Port", id_, {"name": name, "interfaces": new(f"{id_}i"), **settings, **qos})
    yield _mutate("Bridge", bridge, "ports", "insert", new(id_))


def _without_qos(port: PortRow) -> Iterator[Operation]:
    if port.qos and MARK in port.external:
        yield _update("Port", port.uuid, {"qos": as_set()})  # what is still referred to cannot go
        yield _delete("QoS", port.qos)


def _options(item: OvsPort) -> dict[str, str]:
    if not item.kind:
        return {}
    options = {"remote_ip": item.remote, "local_ip": item.local, "key": str(item.number)}
    return {**options, "dst_port": str(VXLAN_PORT)} if item.kind == "vxlan" else options


def _tag(number: int) -> list[object]:
    return as_set(number) if number else as_set()


def _insert(table: str, id_: str, row: Mapping[str, object]) -> Operation:
    return {"op": "insert", "table": table, "uuid-name": id_, "row": row}


def _update(table: str, uuid: str, row: Mapping[str, object]) -> Operation:
    return {"op": "update", "table": table, "where": [["_uuid", "==", reference(uuid)]], "row": row}


def _delete(table: str, uuid: str) -> Operation:
    return {"op": "delete", "table": table, "where": [["_uuid", "==", reference(uuid)]]}


def _mutate(table: str, row: Sequence[str], column: str, how: str, value: list[str]) -> Operation:
    """Of the one row of the table where none is named."""
    where = [["_uuid", "==", row]] if row else []
    return {"op": "mutate", "table": table, "where": where, "mutations": [[column, how, as_set(value)]]}


def _foreign(what: str) -> Conflict:
    return Conflict(f"{what} of Open vSwitch's exists already and was not made by linkspan: choose another name")
