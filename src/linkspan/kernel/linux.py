"""The real kernel: takes a plan's steps in order, undoes them when one fails, reads back what is ours."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import logging
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from linkspan.errors import InvalidArgument, LinkspanError, NotFound
from linkspan.kernel import announce, conntrack, forwarding, offload, proxies, routes, rtnetlink, shaping, sysctl
from linkspan.kernel.claim import claim
from linkspan.kernel.contract import EphemeralPorts, Interface, RouteEntry, Statistics
from linkspan.kernel.devices import FEATURES
from linkspan.kernel.drift import Drift
from linkspan.kernel.enslaving import Enslaving
from linkspan.kernel.failure import explain
from linkspan.kernel.guards import Guards
from linkspan.kernel.inner import Inner
from linkspan.kernel.links import Links, device_of, of_host
from linkspan.kernel.namespaces import Namespaces
from linkspan.kernel.neighbours import Others
from linkspan.kernel.netlink import NETLINK_NETFILTER, NETLINK_ROUTE, NetlinkSocket
from linkspan.kernel.nftables import Nftables
from linkspan.kernel.nics import ALIAS as NIC_ALIAS
from linkspan.kernel.nics import Nics, nic_of
from linkspan.kernel.ovs.switch import DEFAULT_DATABASE, Switch, SwitchObject
from linkspan.kernel.ports import Ports
from linkspan.kernel.rows import Refused, Row, take_rows
from linkspan.kernel.steps import GOING_TOGETHER, explained, grouped, place, subject, udp_port
from linkspan.kernel.watch import Watch
from linkspan.kernel.wireless import wireless
from linkspan.state.guard import Guard, Seal
from linkspan.state.neighbours import Neighbours
from linkspan.state.objects import (
    HOST,
    Address,
    BoundPort,
    Bridge,
    Device,
    Enslaved,
    ForwardAccept,
    Joint,
    KernelObject,
    Namespace,
    NftElement,
    Nic,
    Proxied,
    Route,
    Shaper,
    State,
    Sysctl,
    Veth,
    Vxlan,
    state_of,
)
from linkspan.state.plan import Create, Delete, Plan, Replace, Step, undo
from linkspan.state.switch import SwitchFacts

log = logging.getLogger(__name__)


class LinuxKernel:
    """Made and used in one thread; the host is the network namespace that the thread is in."""

    def __init__(
        self,
        namespaces: Path,
        *,
        owned_table: bool = True,
        accept_mark: str = "",
        switch: str = DEFAULT_DATABASE,
        datapath: str = "auto",
    ) -> None:
        """`namespaces` is the folder of our namespace files. `owned_table=False` lets others edit our nft table, and
        flush it. Packets with the firewall mark `accept_mark` may reach containers. `switch` is the socket of Open
        vSwitch's database, `datapath` where it is to switch: system, netdev, or auto.

        Raises Conflict where another daemon programs this host, Unsupported where the kernel lacks nftables.
        """
        with contextlib.ExitStack() as opened:
            self._claim = opened.enter_context(claim())
            try:
                self._namespaces = Namespaces(namespaces)
                opened.callback(self._namespaces.close)
                self._sockets = {HOST: NetlinkSocket(NETLINK_ROUTE)}
                opened.callback(self._sockets[HOST].close)
                self._drift = Drift(namespaces, self._namespaces, self._sockets)
                self._others = Others()
                opened.callback(self._others.close)
            except OSError as error:
                raise explain(error, f"use the folder {namespaces} for network namespaces") from error
            self._ports = Ports()
            self._nft = Nftables(owned=owned_table, accept_mark=accept_mark)
            self._watch: Watch | None = None
            self._links = Links(self._namespaces, self._inside)
            self._nics = Nics(self._namespaces, self._inside)
            self._enslaving = Enslaving(self._sockets[HOST])
            self._inner = Inner(self._namespaces)
            self._guards = Guards(self._namespaces, self._inner, owned=owned_table)
            self._switch = Switch(self._sockets[HOST], switch, datapath)
            opened.pop_all()

    def close(self) -> None:
        if self._watch:
            self._watch.close()
        self._ports.close()
        self._nft.close()
        self._others.close()
        self._inner.close()
        self._guards.close()
        self._switch.close()
        for connection in self._sockets.values():
            connection.close()
        self._sockets.clear()
        self._namespaces.close()
        self._claim.close()

    # --- doing

    def hold(self, processes: Mapping[str, int]) -> None:
        for path, pid in processes.items():
            if not self._namespaces.exists(path):
                try:
                    self._namespaces.hold_that_of(pid, path)
                except OSError as error:
                    log.error("cannot hold the network namespace of process %d at %s: %s", pid, path, error.strerror)

    def apply(self, plan: Plan) -> None:
        done: list[Step] = []
        with self._watch.applying(plan) if self._watch else contextlib.nullcontext():
            try:
                for steps in grouped(plan):
                    rows = isinstance(subject(steps[0]), Row)
                    if rows:
                        done.extend(steps)  # where one is refused, the others are taken
                    self._take_together(steps)
                    if not rows:
                        done.extend(steps)
            except BaseException:
                self._undo(done)
                raise

    def watch(self) -> Watch:
        if self._watch is None:
            try:
                self._watch = Watch(self._links.parents, self._nft.port, self._inner, self._unheard)
            except OSError as error:
                raise explain(error, "watch the kernel for losses") from error
        return self._watch

    def _unheard(self) -> bool:
        """What the kernel tells nobody of."""
        drifted = self._drift.happened()
        return self._switch.happened() or drifted

    def _undo(self, done: list[Step]) -> None:
        """As far as it goes: what cannot be undone is for the next reconcile to see."""
        for steps in grouped(undo(done)):
            try:
                self._take_together(steps)
            except LinkspanError:
                pass
            except Exception:
                log.exception("a step could not be undone")

    def _take_together(self, steps: list[Step]) -> None:
        if isinstance(subject(steps[0]), NftElement):
            self._nft.apply(steps)
            self._forget(steps)
        elif isinstance(subject(steps[0]), Row):
            self._take_rows(steps)
        elif isinstance(subject(steps[0]), SwitchObject):
            self._switch.take(steps)
        elif len(steps) > 1:
            names = [item.name for item in map(subject, steps) if isinstance(item, GOING_TOGETHER)]
            try:
                rtnetlink.delete_links(self._sockets[HOST], names)
            except OSError as error:
                raise explain(error, f"delete the links {', '.join(names)}") from error
        else:
            self._take(steps[0])

    def _forget(self, steps: list[Step]) -> None:
        """UDP connections to ports that were just published or withdrawn, so that they are translated anew."""
        ports = {port for port in map(udp_port, steps) if port}
        if not ports:
            return
        # At worst a client goes on with its old translation until it pauses: no reason to fail, the port is published.
        with contextlib.suppress(OSError):
            own = [entry.address.partition("/")[0] for entry in rtnetlink.addresses(self._sockets[HOST])]
            connection = NetlinkSocket(NETLINK_NETFILTER)
            try:
                conntrack.forget_udp(connection, ports, own)
            finally:
                connection.close()

    def _take_rows(self, steps: list[Step]) -> None:
        namespace = place(subject(steps[0]))
        if namespace == HOST:
            made = (step.after for step in steps if not isinstance(step, Delete))
            self._links.lead_over({item.interface for item in made if isinstance(item, Route) and item.interface})
        try:
            take_rows(self._inside(namespace), steps)
        except Refused as refused:
            raise explained(refused.step, refused.cause) from refused.cause
        except OSError as error:
            if isinstance(error, FileNotFoundError) and isinstance(steps[0], Delete):
                return  # gone with their namespace
            raise explained(steps[0], error) from error

    def _take(self, step: Step) -> None:
        try:
            match step:
                case Create(item):
                    self._create(item)
                case Replace(before, item):
                    self._change(before, item)
                case Delete(item):
                    self._delete(item)
        except OSError as error:
            raise explained(step, error) from error

    def _create(self, item: KernelObject) -> None:
        match item:
            case BoundPort():
                self._ports.bind(item)
            case Namespace(path):
                self._create_namespace(path)
            case Guard():
                self._guards.put(None, item)
            case Seal():
                self._guards.seal(item)
            case Bridge() | Joint() | Veth() | Device() | Vxlan():
                self._links.create(item)
                if isinstance(item, Device):
                    self._inner.expect(item.namespace)
            case Nic():
                self._nics.create(item)
                self._inner.expect(item.namespace)
            case Enslaved():
                self._links.stands_on(item.nic)
                self._enslaving.make(item)
            case Address(namespace=namespace):
                rtnetlink.add_address(self._inside(namespace), item)
            case Sysctl():
                self._write(item)
            case Shaper():
                shaping.set_shaper(self._inside(item.namespace), item)
                self._inner.expect(item.namespace)
            case Proxied():
                proxies.answer_for(self._sockets[HOST], item)
            case ForwardAccept():
                self._others.accept(item)
            case _:
                raise TypeError(item)

    def _change(self, before: KernelObject, item: KernelObject) -> None:
        match item:
            case Guard():
                self._guards.put(before if isinstance(before, Guard) else None, item)
            case Bridge() | Joint() | Veth() | Device() | Vxlan():
                self._links.change(item)
            case Nic():
                self._nics.change(item)
            case Enslaved():
                self._enslaving.make(item)
            case Sysctl():
                self._write(item)
            case Shaper():
                shaping.set_shaper(self._inside(item.namespace), item)
            case ForwardAccept():
                self._others.accept(item)
            case _:
                raise TypeError(item)

    def _delete(self, item: KernelObject) -> None:
        match item:
            case BoundPort():
                self._ports.release(item)
            case Namespace(path):
                self._leave(path)
                self._namespaces.delete(path)
            case Bridge() | Joint() | Veth() | Device() | Vxlan():
                self._links.delete(item)
            case Nic():
                self._nics.delete(item)
            case Enslaved():
                self._enslaving.free(item)
            case Guard():
                self._guards.remove(item.namespace)
            case Seal():
                self._guards.unseal(item)
            case Address() | Shaper():
                try:
                    inside = self._inside(item.namespace)
                except FileNotFoundError:
                    return  # gone with its namespace
                match item:
                    case Address():
                        rtnetlink.delete_address(inside, item)
                    case Shaper():
                        shaping.delete_shaper(inside, item)
            case Proxied():
                proxies.be_silent(self._sockets[HOST], item)
            case Sysctl():
                pass  # nobody owns a setting
            case ForwardAccept():
                self._others.withdraw(item)
            case _:
                raise TypeError(item)

    def _create_namespace(self, path: str) -> None:
        if self._namespaces.exists(path):
            rtnetlink.up(self._inside(path), "lo")
            return
        self._leave(path)

        def prepare() -> None:
            connection = NetlinkSocket(NETLINK_ROUTE)
            try:
                rtnetlink.up(connection, "lo")
            except BaseException:
                connection.close()
                raise
            self._sockets[path] = connection

        try:
            self._namespaces.create(path, prepare)
            self._guards.fresh(path)
        except BaseException:
            self._leave(path)
            raise

    def expect(self, interfaces: Iterable[str], *, switch: bool = False) -> None:
        self._links.expect(interfaces)
        self._switch.awaited = switch

    def announce(self, namespace: str, interface: str, addresses: tuple[str, ...]) -> None:
        try:
            with self._namespaces.inside(namespace):
                announce.send(interface, addresses)
        except OSError as error:
            raise explain(error, f"announce {', '.join(addresses)} on {interface}") from error

    def _write(self, item: Sysctl) -> None:
        with self._namespaces.inside(item.namespace):
            try:
                sysctl.write(item.name, item.value)
            except OSError as error:
                if error.errno == errno.EINVAL:
                    raise InvalidArgument(f"sysctl {item.name} does not take the value {item.value!r}") from None
                if error.errno == errno.ENOENT:
                    raise InvalidArgument(f"sysctl {item.name}: this kernel has no such setting") from None
                raise
        if item.namespace == HOST:
            self._drift.expect(item.name, item.value)

    # --- reading

    def read(self, sysctls: Iterable[tuple[str, str]] = ()) -> State:
        try:
            self._drift.hold_again()
            found = state_of(self._read(sysctls))
            for item in found.values():
                if isinstance(item, (Device, Nic, Shaper)):
                    self._inner.expect(item.namespace)
            return found
        except OSError as error:
            raise explain(error, "read the state of the kernel") from error

    def _read(self, sysctls: Iterable[tuple[str, str]]) -> Iterator[KernelObject]:
        yield from self._ports.held()
        host = rtnetlink.links(self._sockets[HOST])
        ours = {item.interface.index: item for item in host if item.interface.alias.startswith(rtnetlink.ALIAS)}
        names = {item.interface.index: item.interface.name for item in host}
        peers: dict[int, tuple[str, rtnetlink.Link]] = {}  # by the host end's index
        whole = set[int]()
        yield from self._guards.read(HOST)
        for path in self._namespaces.paths():
            yield Namespace(path)
            yield from self._guards.read(path)
            inside = self._inside(path)
            found = rtnetlink.links(inside)
            mine = {}
            for item in found:
                other = ours.get(item.peer_index)
                if item.interface.alias.startswith(NIC_ALIAS):
                    mine[item.interface.index] = item
                    yield nic_of(item, path)
                elif item.interface.kind == "veth" and other and other.peer_index == item.interface.index:
                    peers[item.peer_index] = (path, item)
                    if not other.master_index and not offload.is_offloaded(inside, item.interface.name):
                        whole.add(item.peer_index)
                    mine[item.interface.index] = item
                elif item.interface.kind in FEATURES and item.interface.alias.startswith(rtnetlink.ALIAS):
                    mine[item.interface.index] = item
                    yield device_of(item, path, names)
            yield from self._read_addresses(path, mine)
            yield from shaping.shapers(inside, path, found, mine.keys())
            yield from self._read_routes(path)
        yield from of_host(host, peers, whole)
        yield from self._enslaving.read(host)
        yield from self._switch.read({item.interface.name: item for item in host})
        yield from proxies.proxied(self._sockets[HOST], names)
        yield from self._read_addresses(HOST, ours)
        yield from shaping.shapers(self._sockets[HOST], HOST, host, ours.keys())
        yield from forwarding.neighbours(self._sockets[HOST], names)
        for item in ours.values():
            if item.interface.kind == "vxlan":
                yield from forwarding.entries(self._sockets[HOST], item.interface.index, item.interface.name)
        yield from self._read_routes(HOST)
        yield from self._nft.read()
        yield from self._others.look().accepting
        sysctls = list(sysctls)
        self._drift.expect_only(name for namespace, name in sysctls if namespace == HOST)
        for namespace, name in sysctls:
            with contextlib.suppress(NotFound):
                value = self.sysctl(name, namespace)
                if value is not None:
                    if namespace == HOST:
                        self._drift.expect(name, value)  # or what is written next
                    yield Sysctl(namespace, name, value)

    def _read_addresses(self, namespace: str, mine: dict[int, rtnetlink.Link]) -> Iterator[Address]:
        for entry in rtnetlink.addresses(self._inside(namespace)) if mine else ():
            if entry.ours and entry.index in mine:
                yield Address(namespace, mine[entry.index].interface.name, entry.address, own=entry.own)

    def _read_routes(self, namespace: str) -> Iterator[Route]:
        for found in routes.routes(self._inside(namespace)):
            if found.ours:
                yield found.as_ours(namespace)

    # --- facts

    def interfaces(self, namespace: str = HOST) -> tuple[Interface, ...]:
        with _reading(f"the interfaces of {namespace or 'the host'}"):
            found = rtnetlink.interfaces(self._inside(namespace))
        radios = wireless(item.name for item in found if not item.kind) if namespace == HOST else ()
        return tuple(dataclasses.replace(item, wireless=True) if item.name in radios else item for item in found)

    def interface(self, name: str, namespace: str = HOST) -> Interface:
        for item in self.interfaces(namespace):
            if item.name == name:
                return item
        raise NotFound(f"interface {name} not found")

    def routes(self, namespace: str = HOST) -> tuple[RouteEntry, ...]:
        with _reading(f"the routes of {namespace or 'the host'}"):
            return tuple(found.entry for found in routes.routes(self._inside(namespace)) if found.kind == "unicast")

    def learned(self, protocol: int, metric: int) -> tuple[str, ...]:
        with _reading("the routes of the host"):
            found = routes.others(self._inside(HOST), protocol, metric)
            return tuple(dict.fromkeys(destination for destination, _ in found))

    def forget(self, protocol: int, metric: int) -> None:
        with _reading("the routes of the host"):
            inside = self._inside(HOST)
            refused = inside.batch([message for _, message in routes.others(inside, protocol, metric)])
            # One with several ways out is listed once for each of them in IPv6, and goes with the first.
            for error in refused.values():
                if error.errno != errno.ESRCH:
                    raise error

    def statistics(self, interface: str, namespace: str = HOST) -> Statistics:
        with _reading(f"the counters of interface {interface}"):
            return rtnetlink.statistics(self._inside(namespace), interface)

    def ephemeral_ports(self) -> EphemeralPorts:
        first, _, last = (self.sysctl("net/ipv4/ip_local_port_range") or "32768 60999").partition(" ")
        reserved: set[int] = set()
        for part in filter(None, (self.sysctl("net/ipv4/ip_local_reserved_ports") or "").split(",")):
            low, _, high = part.partition("-")
            reserved.update(range(int(low), int(high or low) + 1))
        return EphemeralPorts(int(first), int(last), frozenset(reserved))

    def sysctl(self, name: str, namespace: str = HOST) -> str | None:
        with _reading(f"the setting {name}"), self._namespaces.inside(namespace):
            return sysctl.read(name)

    def has_ipip(self) -> bool:
        with _reading("the kinds of links"):
            return rtnetlink.has_ipip(self._inside(HOST))

    def switch(self) -> SwitchFacts:
        return self._switch.facts()

    def neighbours(self) -> Neighbours:
        with _reading("the chains of other firewalls"):
            return self._others.look()

    def ruleset(self) -> str:
        return self._nft.ruleset()

    # --- one connection for each namespace

    def _inside(self, namespace: str) -> NetlinkSocket:
        """The connection into a namespace, kept open until the namespace is deleted: an open one keeps it alive."""
        connection = self._sockets.get(namespace)
        if connection is None:
            with self._namespaces.inside(namespace):
                connection = self._sockets[namespace] = NetlinkSocket(NETLINK_ROUTE)
        return connection

    def _leave(self, namespace: str) -> None:
        self._inner.forget(namespace)
        self._guards.forget(namespace)
        connection = self._sockets.pop(namespace, None)
        if connection is not None:
            connection.close()


@contextlib.contextmanager
def _reading(what: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise NotFound(f"cannot read {what}: no network namespace at {error.filename}") from None
    except OSError as error:
        raise explain(error, f"read {what}") from error
