"""Rows of Open vSwitch's database as typed values. The schema: ovs-vswitchd.conf.db(5); how values look: RFC 7047."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeVar

R = TypeVar("R")

COLUMNS = {
    "Bridge": ["name", "datapath_type", "ports", "external_ids", "other_config"],
    "Port": ["name", "tag", "protected", "interfaces", "external_ids", "qos"],
    "Interface": ["name", "type", "options"],
    "QoS": ["external_ids"],
}


@dataclasses.dataclass(frozen=True, slots=True)
class BridgeRow:
    uuid: str
    name: str
    datapath: str
    ports: frozenset[str]
    external: Mapping[str, str]
    other: Mapping[str, str]


@dataclasses.dataclass(frozen=True, slots=True)
class PortRow:
    uuid: str
    name: str
    tag: int
    protected: bool
    interfaces: tuple[str, ...]
    external: Mapping[str, str]
    qos: str


@dataclasses.dataclass(frozen=True, slots=True)
class InterfaceRow:
    uuid: str
    name: str
    type: str
    options: Mapping[str, str]


class Rows:
    """A copy of the tables, kept up to date by the updates that the server sends."""

    def __init__(self) -> None:
        self.bridges: dict[str, BridgeRow] = {}
        self.ports: dict[str, PortRow] = {}
        self.interfaces: dict[str, InterfaceRow] = {}
        self.qos: dict[str, Mapping[str, str]] = {}  # what is said of each

    def update(self, tables: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> None:
        """Raises KeyError, IndexError, TypeError, ValueError or AttributeError for what is no update of them."""
        for uuid, change in tables.get("Bridge", {}).items():
            _put(self.bridges, uuid, _bridge(uuid, change["new"]) if "new" in change else None)
        for uuid, change in tables.get("Port", {}).items():
            _put(self.ports, uuid, _port(uuid, change["new"]) if "new" in change else None)
        for uuid, change in tables.get("Interface", {}).items():
            _put(self.interfaces, uuid, _interface(uuid, change["new"]) if "new" in change else None)
        for uuid, change in tables.get("QoS", {}).items():
            _put(self.qos, uuid, pairs(change["new"]["external_ids"]) if "new" in change else None)

    def bridge(self, name: str) -> BridgeRow | None:
        return next((row for row in self.bridges.values() if row.name == name), None)

    def port(self, name: str) -> PortRow | None:
        return next((row for row in self.ports.values() if row.name == name), None)

    def bridge_of(self, port: PortRow) -> BridgeRow | None:
        return next((row for row in self.bridges.values() if port.uuid in row.ports), None)

    def ports_of(self, bridge: BridgeRow) -> list[PortRow]:
        return [self.ports[uuid] for uuid in bridge.ports if uuid in self.ports]


def _put(rows: dict[str, R], uuid: str, row: R | None) -> None:
    if row is None:
        rows.pop(uuid, None)
    else:
        rows[uuid] = row


def _bridge(uuid: str, row: Mapping[str, Any]) -> BridgeRow:
    ports = frozenset(members(row["ports"]))
    return BridgeRow(
        uuid, row["name"], row["datapath_type"], ports, pairs(row["external_ids"]), pairs(row["other_config"])
    )


def _port(uuid: str, row: Mapping[str, Any]) -> PortRow:
    return PortRow(
        uuid,
        row["name"],
        tag=next(iter(members(row["tag"])), 0),
        protected=bool(row["protected"]),
        interfaces=tuple(members(row["interfaces"])),
        external=pairs(row["external_ids"]),
        qos=next(iter(members(row["qos"])), ""),
    )


def _interface(uuid: str, row: Mapping[str, Any]) -> InterfaceRow:
    return InterfaceRow(uuid, row["name"], row["type"], pairs(row["options"]))


def members(value: Any) -> list[Any]:
    """Of a set; a set of one may be written as that one. A reference is its UUID."""
    if isinstance(value, list) and value[0] == "set":
        return [member for one in value[1] for member in members(one)]
    return [value[1]] if isinstance(value, list) and value[0] == "uuid" else [value]


def pairs(value: Any) -> dict[str, str]:
    return dict(value[1])


def as_set(*values: object) -> list[object]:
    return ["set", list(values)]


def as_map(values: Mapping[str, str]) -> list[object]:
    return ["map", [[name, value] for name, value in values.items()]]


def reference(uuid: str) -> list[str]:
    return ["uuid", uuid]


def new(name: str) -> list[str]:
    """A row that the same transaction inserts."""
    return ["named-uuid", name]
