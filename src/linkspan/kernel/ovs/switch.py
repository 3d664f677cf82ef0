"""Objects of ours in Open vSwitch: made, changed, removed and read back.

A group of steps is one transaction of the database, and is done once the switch has followed. What of a bridge is the
host's interface (its alias, its MTU, that it is up) is set after that, as it is the switch that makes the interface.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

from linkspan.errors import Internal, LinkspanError, Unavailable
from linkspan.kernel import rtnetlink
from linkspan.kernel.failure import explain
from linkspan.kernel.netlink import NetlinkSocket
from linkspan.kernel.ovs.database import Database
from linkspan.kernel.ovs.probe import Life, kernel_datapath
from linkspan.kernel.ovs.rows import BridgeRow, PortRow, Rows
from linkspan.kernel.ovs.uplink import Flows
from linkspan.kernel.ovs.writing import ADDRESS, MARK, puts, removals
from linkspan.state.plan import Create, Delete, Replace, Step
from linkspan.state.switch import UPLINK, OvsBridge, OvsPort, OvsUplink, SwitchFacts

SwitchObject: TypeAlias = OvsBridge | OvsUplink | OvsPort
Found: TypeAlias = dict[tuple[str, ...], SwitchObject]

DEFAULT_DATABASE = "/run/openvswitch/db.sock"
_USE = "install openvswitch-switch and start it, or say with --ovs-db where its database is"


class Switch:
    """`host` is a connection into the namespace whose switch this is. Nothing is opened before it is asked for."""

    def __init__(self, host: NetlinkSocket, database: str = DEFAULT_DATABASE, datapath: str = "auto") -> None:
        """`datapath` is `system`, `netdev`, or `auto`: the kernel's where it has one."""
        self._host, self._path, self._datapath = host, database, datapath
        folder = Path(database).parent
        self._flows, self._life = Flows(folder), Life(folder)
        self._database: Database | None = None
        self._problem = ""  # why it could not be used when it was last tried
        self._elsewhere = False  # it is another host's
        self.awaited = False  # there is something to be made on it
        self._mine: Found = {}  # what was ours when we last looked, or changed it
        self._bridges: frozenset[str] = frozenset()  # whosever: ports of ours may be on others' bridges
        self._uplinks: dict[str, str] = {}  # the interface of each, by address
        self._told: dict[str, str] = {}  # which they should be, as last seen

    def close(self) -> None:
        if self._database:
            self._database.close()
        self._database = None
        self._life.close()

    # --- doing

    def take(self, steps: Sequence[Step]) -> None:
        """All of the steps or none. Raises what hinders it, by our own kinds of error."""
        made = [step.after for step in steps if isinstance(step, (Create, Replace))]
        gone = [step.before for step in steps if isinstance(step, Delete)]
        try:
            database = self._open()
        except LinkspanError:
            if made:
                raise
            return  # what is left of it there is found when the switch is back
        rows = database.look()
        operations = [*removals(rows, gone), *puts(rows, made, lambda uplink: self._holder(uplink.address))]
        try:
            # Whoever removes a bridge may want its name for something else next.
            follow = bool(made) or any(not isinstance(item, OvsPort) for item in gone)
            if operations:
                database.transact(operations, follow=follow)
            self._check(database, made)
            for item in made:
                self._finish(item)
        except LinkspanError:
            with contextlib.suppress(LinkspanError):
                left = removals(database.look(), [step.after for step in steps if isinstance(step, Create)])
                if operations := list(left):
                    database.transact(operations, follow=False)
            raise
        finally:
            self._note(database.rows)

    def _check(self, database: Database, made: Sequence[object]) -> None:
        """That the switch could make use of what the database says."""
        where = {}
        for item in made:
            match item:
                case OvsPort(bridge=bridge, name=name):
                    where[name] = f"port {name} on bridge {bridge} of Open vSwitch's"
                case OvsBridge(name=name):
                    where[name] = f"bridge {name} of Open vSwitch's"
                case OvsUplink(name=name, address=address):
                    card = self._holder(address)
                    where[name], where[card] = f"bridge {name} of Open vSwitch's", f"port {card} on bridge {name}"
        for name, said in database.failures(list(where)):
            raise Internal(f"cannot create {where[name]}: {said}")

    def _finish(self, item: object) -> None:
        """What is not the database's: the interface of a bridge, the flows of an uplink."""
        if not isinstance(item, (OvsBridge, OvsUplink)):
            return
        try:
            match item:
                case OvsBridge():
                    rtnetlink.adopt(self._host, item.name, item.alias, item.mtu)
                case OvsUplink():
                    rtnetlink.adopt(self._host, item.name, UPLINK, 0)
                    self._flows.set(item.name, item.address)
        except OSError as error:
            raise explain(error, f"use bridge {item.name} of Open vSwitch's") from error

    # --- reading

    def read(self, links: Mapping[str, rtnetlink.Link]) -> Iterator[SwitchObject]:
        """What is ours; `links` are the host's, by name. Nothing where there is no switch."""
        self._life.goes_on()  # whatever it has lost is seen now
        try:
            self._note(self._open().look())
        except LinkspanError:
            return
        for item in self._mine.values():
            link = links.get(item.name)
            match item:
                case OvsBridge():
                    whole = item.mtu and link and link.interface.up and link.interface.alias == item.alias
                    mtu = link.interface.mtu if link and whole else 0
                    yield OvsBridge(item.name, item.alias, item.datapath, mtu, item.mac, item.tag)
                case OvsUplink():
                    up = link and link.interface.up and link.interface.alias == UPLINK
                    whole = up and self._in_place() and self._flows.are_set(item.name, item.address)
                    yield item if whole else OvsUplink(item.name, "")
                case OvsPort():
                    yield item

    def facts(self) -> SwitchFacts:
        datapath = self._datapath
        if datapath == "auto":
            datapath = "system" if kernel_datapath() else "netdev"
        try:
            rows = self._open().look()
        except LinkspanError as error:
            return SwitchFacts(str(error), datapath)
        foreign = [row for row in rows.bridges.values() if MARK not in row.external]
        ports = (port.name for row in foreign for port in rows.ports_of(row))
        shown = (row for row in rows.bridges.values() if row.external.get(MARK) != UPLINK)
        bridges = tuple(sorted((row.name, row.datapath or "system") for row in shown))
        return SwitchFacts("", datapath, bridges, frozenset((*(row.name for row in foreign), *ports)))

    def happened(self) -> bool:
        """Whether anything of ours is not as it was, or the switch is back that was away; once for each."""
        away = self._problem
        if not (self._mine or self.awaited or (away and not self._elsewhere)):
            return False
        before = self._mine, self._bridges, self._uplinks
        try:
            self._note(self._open().heard())
        except LinkspanError:
            return False
        if away or before != (self._mine, self._bridges, self._uplinks):
            return True
        # The flows of an uplink are all that the switch does not find in its database when it starts.
        return bool(self._uplinks) and not (self._life.goes_on() and self._in_place(once=True))

    def _note(self, rows: Rows) -> None:
        self._mine = _ours(rows)
        self._bridges = frozenset(row.name for row in rows.bridges.values())
        self._uplinks = {
            row.external.get(ADDRESS, ""): next((p.name for p in rows.ports_of(row) if p.name != row.name), "")
            for row in rows.bridges.values()
            if row.external.get(MARK) == UPLINK
        }

    def _in_place(self, *, once: bool = False) -> bool:
        """Whether uplinks have the interfaces that have their addresses now; with `once`, no if this is news only."""
        wanted = {address: self._holder(address) for address in self._uplinks}
        if once and wanted == self._told:
            return True
        self._told = wanted
        return wanted == self._uplinks

    def _holder(self, address: str) -> str:
        """The interface of the host's that has an address, "" where there is none."""
        try:
            held = rtnetlink.addresses(self._host) if address else []
            index = next((entry.index for entry in held if entry.address.partition("/")[0] == address), 0)
            names = {link.interface.index: link.interface.name for link in rtnetlink.links(self._host)} if index else {}
        except OSError as error:
            raise explain(error, f"find the interface that has {address}") from error
        return names.get(index, "")

    def _open(self) -> Database:
        """The connection; a new one where there is none, or its other end is gone. Raises Unavailable, saying why and
        who must act."""
        try:
            if self._database is None or not _answers(self._database):
                self._database = Database(self._path)
            self._elsewhere = not self._database.is_here()
            if self._elsewhere:
                raise Unavailable("its database's server is in another network namespace than linkspand")
            if not self._database.switch_runs():
                raise Unavailable(f"the database at unix:{self._path} answers, but ovs-vswitchd does not run")
        except LinkspanError as error:
            self.close()
            self._problem = f"Open vSwitch does not run on this host: {error}: {_USE}"
            raise Unavailable(self._problem) from error
        self._problem = ""
        return self._database


def _answers(database: Database) -> bool:
    try:
        database.heard()
    except LinkspanError:
        return False
    return True


def _ours(rows: Rows) -> Found:
    found = [item for row in rows.bridges.values() if (item := _bridge(rows, row))]
    names = {item.name for item in found}
    ports = [
        port
        for bridge in rows.bridges.values()
        for row in rows.ports_of(bridge)
        if row.name not in names and (port := _port(rows, bridge, row))
    ]
    return {item.key: item for item in (*found, *ports)}


def _bridge(rows: Rows, row: BridgeRow) -> OvsBridge | OvsUplink | None:
    alias = row.external.get(MARK, "")
    if not alias:
        return None
    ports = rows.ports_of(row)
    if alias == UPLINK:
        return OvsUplink(row.name, row.external.get(ADDRESS, ""))
    own = next((port for port in ports if port.name == row.name), None)
    return OvsBridge(
        row.name,
        alias,
        row.datapath or "system",
        mtu=int(own is not None and own.protected),  # 0 is not as it should be; else the interface tells
        mac=row.other.get("hwaddr", ""),
        tag=own.tag if own else 0,
    )


def _port(rows: Rows, bridge: BridgeRow, row: PortRow) -> OvsPort | None:
    alias = row.external.get(MARK, "")
    if not alias or bridge.external.get(MARK) == UPLINK:
        return None
    interface = rows.interfaces.get(row.interfaces[0]) if len(row.interfaces) == 1 else None
    options = interface.options if interface else {}
    key = options.get("key", "0")
    return OvsPort(
        bridge.name,
        row.name,
        alias,
        kind=interface.type if interface else "?",
        local=options.get("local_ip", ""),
        remote=options.get("remote_ip", ""),
        number=int(key) if key.isdecimal() else -1,
        tag=row.tag,
        apart=row.protected,
        said=tuple(sorted((name, value) for name, value in row.external.items() if name != MARK)),
    )
