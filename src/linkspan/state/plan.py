"""The difference between two states as ordered steps: the one place that knows what has to come before what.

Created first, referents before what refers to them: ports → namespaces → what sandboxes let in and out → bridges, those
of the host's own interfaces last → joints → bridges of Open vSwitch's → devices (those that others stand on first) →
network cards → tunnels → veths → ports of Open vSwitch's → seals → sysctls → addresses → shapers → neighbours →
forwarding entries → routes → addresses answered for → elements of the ruleset → rules in others' chains. A port comes
first because it is the step most likely to fail, and costs nothing to undo; the elements come last because they let
traffic in. (An interface with IPv6 turned off takes no IPv6 address: so settings come before addresses.)
Deletions follow, in reverse. Exceptions:

- Elements are applied as one transaction, deletions first: an interval set refuses a subnet that overlaps one that is
  about to go.
- What stands in the way of something new goes first of all: a link to be made anew under the same name, a veth whose
  peer's name another one takes, a device on a parent that gets another one (it has room for one in passthru, and for
  one of each MAC), a network card that is elsewhere and is wanted, a tunnel with the same number, a bound port that
  covers another's address, an IPv6 address with another prefix length (an interface has it once; of IPv4 it may have
  both).
- Then, before what a sandbox lets in and out changes or goes, those of its interfaces that go: an interface is never
  there without what was said of it.
- What vanishes with its link or namespace (addresses, routes, neighbours, devices…), or with its bridge of Open
  vSwitch's, has no step of its own, and is made again where it is still wanted.
- Sysctls are written and never taken back.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Container, Iterable, Iterator
from typing import TypeAlias

from linkspan.state.guard import Guard, Seal
from linkspan.state.objects import (
    HOST,
    Address,
    BoundPort,
    Bridge,
    Device,
    Enslaved,
    FdbEntry,
    ForwardAccept,
    Joint,
    KernelObject,
    Key,
    Namespace,
    Neighbour,
    NftElement,
    Nic,
    Proxied,
    Route,
    Shaper,
    State,
    Sysctl,
    Veth,
    Vxlan,
)
from linkspan.state.switch import OvsBridge, OvsPort, OvsUplink


@dataclasses.dataclass(frozen=True, slots=True)
class Create:
    """Make `after`. If it is there already as wanted, that is success."""

    after: KernelObject


@dataclasses.dataclass(frozen=True, slots=True)
class Replace:
    """Change `before` into `after`, in place: same key, same kind."""

    before: KernelObject
    after: KernelObject


@dataclasses.dataclass(frozen=True, slots=True)
class Delete:
    """Remove `before`. If it is gone already, that is success."""

    before: KernelObject


Step: TypeAlias = Create | Replace | Delete


@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    """Steps in the order in which they are to be taken. A plan without steps is false."""

    steps: tuple[Step, ...] = ()

    def __iter__(self) -> Iterator[Step]:
        return iter(self.steps)

    def __len__(self) -> int:
        return len(self.steps)


_ORDER = (
    *(BoundPort, Namespace, Guard, Bridge, Enslaved, Joint, OvsBridge, OvsUplink, Device, Nic, Vxlan, Veth, OvsPort),
    *(Seal, Sysctl, Address, Shaper, Neighbour, FdbEntry, Route, Proxied, NftElement, ForwardAccept),
)
_RANK = {kind: rank for rank, kind in enumerate(_ORDER)}
_RANK_NFT = _RANK[NftElement]
_UPPER = ("macvlan", "ipvlan")

# What of an object can be changed while it stays the same object; None is everything.
_IN_PLACE: dict[type, frozenset[str] | None] = {
    Bridge: None,
    Enslaved: frozenset({"settled"}),
    Veth: frozenset({"alias", "mac", "bridge", "mtu", "hairpin", "isolated", "offload"}),
    Joint: frozenset({"alias", "bridge", "peer_bridge", "mtu", "isolated"}),
    Device: frozenset({"alias", "mac", "mtu", "up"}),
    Vxlan: frozenset({"alias", "mac", "mtu", "isolated", "floods"}),
    Address: frozenset(),
    Neighbour: None,
    FdbEntry: None,
    Nic: frozenset({"mac", "up"}),
    OvsBridge: frozenset({"alias", "mtu", "mac", "tag"}),
    OvsUplink: frozenset({"address"}),
    OvsPort: frozenset({"alias", "kind", "local", "remote", "number", "tag", "apart", "said"}),
    Shaper: None,
    Sysctl: None,
    Route: None,
    NftElement: None,
    ForwardAccept: None,
    Guard: None,
}

_Place: TypeAlias = tuple[str, str]  # a namespace and the name of an interface in it


def diff(actual: State, desired: State) -> Plan:
    """The steps that turn `actual` into `desired`; none if they are the same. Costs time linear in both."""
    made: list[KernelObject] = []
    changed: list[Replace] = []
    remade: list[KernelObject] = []  # to be deleted first, then made again
    for key, after in desired.items():
        before = actual.get(key)
        if before is after:
            continue
        if before is None:
            made.append(after)
        elif not _same(before, after):
            if _changes_in_place(before, after):
                changed.append(Replace(before, after))
            else:
                remade.append(before)
                made.append(after)
    gone: list[KernelObject] = [
        before for key, before in actual.items() if key not in desired and not isinstance(before, Sysctl)
    ]
    if not (made or changed or gone):
        return Plan()
    first = remade + _in_the_way(gone, made)
    first += _guarded(gone, changed, {item.key for item in first})
    early = {item.key for item in first}
    gone = [item for item in gone if item.key not in early]
    vanishing = _vanishing([*first, *gone], actual)
    if vanishing.places or vanishing.namespaces:
        gone = [item for item in gone if not vanishing.covers(item)]
        lost_early = _vanishing(first, actual)
        made, changed = _made_again(actual, desired, made, changed, lost_early)
    return Plan(
        (
            *map(Delete, sorted(first, key=_sort_key, reverse=True)),
            *_additions(made, changed),
            *_transaction(made, changed, gone),
            *(Delete(item) for item in sorted(gone, key=_sort_key, reverse=True) if not isinstance(item, NftElement)),
        )
    )


def grounds(desired: State) -> frozenset[str]:
    """The host's interfaces that objects stand on, or routes lead over, but for ours."""
    bridges = {item.name for item in desired.values() if isinstance(item, (Bridge, Enslaved))}
    found: set[str] = set()
    for item in desired.values():
        match item:
            case Device(parent=name) if name:
                found.add(name)
            case Nic(origin=name) | Enslaved(nic=name) | Proxied(interface=name):
                found.add(name)
            case Veth(bridge=name) if name and name not in bridges:
                found.add(name)
    return frozenset(found | _led_over(desired))


def _led_over(desired: State) -> set[str]:
    """The host's own interfaces that routes lead over."""
    routes = (item for item in desired.values() if isinstance(item, Route))
    found = {route.interface for route in routes if route.namespace == HOST and route.interface}
    links = (Bridge, Enslaved, Joint, Veth, Device, Vxlan, OvsBridge, OvsUplink)
    return found - {item.name for item in desired.values() if isinstance(item, links) and item.key[1] == HOST}


def without_ground(
    actual: State,
    desired: State,
    there: Container[str],
    up: Container[str] | None = None,
    *,
    switch: Container[str] | None = (),
) -> tuple[State, State, tuple[str, ...]]:
    """Both states without what stands on an interface that the host does not have now; and the names of those.

    `there` are the host's interfaces; routes need one that is `up`. `switch` are Open vSwitch's bridges, None where it
    does not run. What cannot be made now is not for a diff: what is left of it stays as it is. (A bridge of one of the
    host's own interfaces can be made without, and waits for it.)
    """
    made = {
        item.name
        for item in desired.values()
        if isinstance(item, (Bridge, Enslaved, Device, Vxlan)) and item.key[1] == HOST
    }
    lacking = {item.nic for item in desired.values() if isinstance(item, Enslaved) and item.nic not in there}
    impassable = {name for name in _led_over(desired) if name not in (there if up is None else up)}
    lacking |= impassable
    places: set[_Place] = set()  # interfaces that are not there, nor what is on them
    adrift: set[Key] = set()  # links that are without what they stood on: what is on them is still wanted
    devices = [item for item in desired.values() if isinstance(item, Device) and item.parent]
    for item in sorted(devices, key=_sort_key):  # a VLAN before what stands on it
        ours = item.parent in made and (HOST, item.parent) not in places
        if not ours and ((HOST, item.parent) in places or item.parent not in there):
            places.add((item.namespace, item.name))
            if item.parent not in made:
                lacking.add(item.parent)
    for key, link in desired.items():
        match link:
            case Nic(origin=name) if key not in actual and name not in there:
                places.add(_inside(link))
                lacking.add(name)
            case Veth(bridge=name) if name and name not in made and name not in there:
                adrift.add(key)
                lacking.add(name)
                if key not in actual:
                    places.add(_inside(link))
            case OvsBridge(name=name) | OvsUplink(name=name) if switch is None:
                places.add((HOST, name))
            case OvsPort(bridge=name) if switch is None or (("link", HOST, name) not in desired and name not in switch):
                adrift.add(key)
                if switch is not None:
                    lacking.add(name)
    if not (places or adrift or impassable) and not any(isinstance(item, Proxied) for item in desired.values()):
        return actual, desired, tuple(sorted(lacking))

    def grounded(item: KernelObject) -> bool:
        match item:
            case OvsBridge() | OvsUplink():
                return switch is not None
            case OvsPort():
                return item.key not in adrift
            case (
                Device(namespace=namespace, name=name)
                | Nic(namespace=namespace, name=name)
                | Address(namespace=namespace, interface=name)
                | Shaper(namespace=namespace, interface=name)
                | Seal(namespace=namespace, interface=name)
            ):
                return (namespace, name) not in places
            case Route(namespace=namespace, interface=name):
                return (namespace, name) not in places and not (namespace == HOST and name in impassable)
            case Neighbour(interface=name):
                return (HOST, name) not in places
            case Proxied(interface=name):
                return name in there or name in made
            case Sysctl(namespace=namespace, name=setting):
                return not any((namespace, part) in places for part in setting.split("/"))
        return item.key not in adrift

    kept = [{key: item for key, item in state.items() if grounded(item)} for state in (actual, desired)]
    return kept[0], kept[1], tuple(sorted(lacking))


def revert(before: State, desired: State) -> Plan:
    """The plan that undoes `diff(before, desired)`: from `desired` back to `before`."""
    return diff(desired, before)


def undo(steps: Iterable[Step]) -> Plan:
    """The plan that undoes just these steps, for a plan that failed half-way.

    What vanished along with a deleted link or namespace had no step, and so is not made again: that is for the caller,
    who knows the whole state.
    """
    before: dict[Key, KernelObject] = {}
    after: dict[Key, KernelObject] = {}
    for step in steps:
        if not isinstance(step, Create):
            before.setdefault(step.before.key, step.before)
        match step:
            case Delete():
                after.pop(step.before.key, None)
            case Create() | Replace():
                after[step.after.key] = step.after
    return diff(after, before)


def apply(plan: Plan, state: State) -> dict[Key, KernelObject]:
    """What `state` becomes when every step of `plan` is taken: the meaning of a plan, without a kernel."""
    result = dict(state)
    for step in plan:
        take(step, result)
    return result


def take(step: Step, state: dict[Key, KernelObject]) -> None:
    """Changes `state` as one step does."""
    match step:
        case Create(after) | Replace(_, after):
            state[after.key] = after
        case Delete(before):
            state.pop(before.key, None)
            if isinstance(before, (Namespace, Bridge, Enslaved, Veth, Device, Nic, Vxlan, OvsBridge, OvsUplink)):
                vanishing = _vanishing([before], state)
                for key in [key for key, item in state.items() if vanishing.covers(item)]:
                    del state[key]


def _same(before: KernelObject, after: KernelObject) -> bool:
    if isinstance(before, (Bridge, OvsBridge, Vxlan)) and type(before) is type(after) and not after.mac:
        return dataclasses.replace(before, mac="") == after  # any MAC will do
    if isinstance(before, Device) and isinstance(after, Device):
        any_ = {name: getattr(after, name) and getattr(before, name) for name in ("mac", "mtu", "mode")}
        return dataclasses.replace(before, **any_) == after
    if isinstance(before, Nic) and isinstance(after, Nic):
        # Whether it is wireless is seen when it moves.
        return dataclasses.replace(before, mac=after.mac and before.mac, wireless=after.wireless) == after
    if isinstance(before, Shaper) and isinstance(after, Shaper) and before.key == after.key:
        # The kernel tells the burst by the time that it takes, which is coarse for a fast link.
        return before.rate == after.rate and abs(before.burst - after.burst) <= after.burst >> 6
    if isinstance(before, Guard) and isinstance(after, Guard):
        return before.stamp == after.stamp
    return before == after


def _changes_in_place(before: KernelObject, after: KernelObject) -> bool:
    if type(before) is not type(after) or type(after) not in _IN_PLACE:
        return False
    changeable = _IN_PLACE[type(after)]
    return changeable is None or all(
        getattr(before, field.name) == getattr(after, field.name)
        for field in dataclasses.fields(after)
        if field.name not in changeable
    )


def _sort_key(item: KernelObject) -> tuple[int, bool, Key]:
    # A route through a gateway needs the route to that gateway first, a macvlan the VLAN that it stands on.
    later = (isinstance(item, Route) and bool(item.gateway)) or (isinstance(item, Device) and item.kind in _UPPER)
    return _RANK[type(item)], later, item.key


def _in_the_way(gone: list[KernelObject], made: list[KernelObject]) -> list[KernelObject]:
    places = {_inside(item) for item in made if isinstance(item, (Veth, Device, Nic))}
    cards = {item.origin for item in made if isinstance(item, Nic)}
    parents = cards | {item.parent for item in made if isinstance(item, Device) and item.parent}
    ports = {(item.protocol, item.port) for item in made if isinstance(item, BoundPort)}
    tunnels = {(item.port, item.vni) for item in made if isinstance(item, Vxlan)}
    addresses = {_whole(item) for item in made if isinstance(item, Address) and ":" in item.address}
    return [
        item
        for item in gone
        if (isinstance(item, (Veth, Device, Nic)) and _inside(item) in places)
        or (isinstance(item, Device) and item.parent in parents)
        or (isinstance(item, Vxlan) and (item.port, item.vni) in tunnels)
        or (isinstance(item, Nic) and item.origin in parents)
        or (isinstance(item, BoundPort) and (item.protocol, item.port) in ports)
        or (isinstance(item, Address) and _whole(item) in addresses)
    ]


def _guarded(gone: list[KernelObject], changed: list[Replace], early: Container[Key]) -> list[KernelObject]:
    """Interfaces that go, of sandboxes that stay, and of which less will be said."""
    ending = {item.path for item in gone if isinstance(item, Namespace)}
    less = {item.namespace for item in gone if isinstance(item, (Guard, Seal))}
    less |= {step.after.namespace for step in changed if isinstance(step.after, Guard)}
    less -= {HOST, *ending}
    links = (item for item in gone if isinstance(item, (Veth, Device, Nic)) and item.key not in early)
    return [item for item in links if item.namespace in less]


def _whole(item: Address) -> tuple[str, str, str]:
    return item.namespace, item.interface, item.address.partition("/")[0]


def _inside(item: Veth | Device | Nic) -> _Place:
    return item.namespace, item.peer if isinstance(item, Veth) else item.name


@dataclasses.dataclass(frozen=True, slots=True)
class _Vanishing:
    """What is lost without a step of its own."""

    namespaces: frozenset[str]
    places: frozenset[_Place]

    def covers(self, item: KernelObject) -> bool:
        if isinstance(item, (Guard, Seal)):
            return item.namespace in self.namespaces
        if isinstance(item, (Address, Route, Shaper)):
            return item.namespace in self.namespaces or (item.namespace, item.interface) in self.places
        if isinstance(item, (Neighbour, FdbEntry)):
            return (HOST, item.interface) in self.places
        if isinstance(item, Device):
            # Not with its namespace: that ends some time later, and until then its MAC is taken on the parent.
            return (HOST, item.parent) in self.places
        if isinstance(item, Vxlan):
            return (HOST, item.link) in self.places
        if isinstance(item, OvsPort):
            return (HOST, item.bridge) in self.places
        return isinstance(item, Sysctl) and item.namespace in self.namespaces


def _vanishing(deleted: Iterable[KernelObject], state: State) -> _Vanishing:
    """What is lost of `state` with the objects deleted."""
    namespaces: set[str] = set()
    places: set[_Place] = set()
    for item in deleted:
        match item:
            case Namespace(path):
                namespaces.add(path)
            case Bridge(name=name) | Enslaved(name=name) | Vxlan(name=name):
                places.add((HOST, name))
            case OvsBridge(name=name) | OvsUplink(name=name):
                places.add((HOST, name))
            case Veth(name=name, namespace=namespace, peer=peer):
                places.add((HOST, name))
                places.add((namespace, peer))
            case Device(namespace=namespace, name=name) | Nic(namespace=namespace, name=name):
                places.add((namespace, name))
    if any(namespace == HOST for namespace, _ in places):  # what stands on a link of the host's goes with it
        places.update(
            (item.namespace, item.name)
            for item in state.values()
            if isinstance(item, Device) and (HOST, item.parent) in places
        )
        places.update(
            (HOST, item.name) for item in state.values() if isinstance(item, Vxlan) and (HOST, item.link) in places
        )
    return _Vanishing(frozenset(namespaces), frozenset(places))


def _made_again(
    actual: State, desired: State, made: list[KernelObject], changed: list[Replace], lost: _Vanishing
) -> tuple[list[KernelObject], list[Replace]]:
    """What is lost with links that go first, and is still wanted, is made again with the rest."""
    anew = {item.key for item in made}
    again = [
        desired[key]
        for key, item in actual.items()
        if key in desired and key not in anew and not isinstance(item, Sysctl) and lost.covers(item)
    ]
    keys = {item.key for item in again}
    return [*made, *again], [step for step in changed if step.after.key not in keys]


def _additions(made: list[KernelObject], changed: list[Replace]) -> list[Step]:
    steps: list[Step] = [Create(item) for item in made if not isinstance(item, NftElement)]
    steps.extend(step for step in changed if not isinstance(step.after, NftElement))
    return sorted(steps, key=_step_key)


def _transaction(made: list[KernelObject], changed: list[Replace], gone: list[KernelObject]) -> list[Step]:
    steps: list[Step] = [Delete(item) for item in sorted(gone, key=_sort_key) if isinstance(item, NftElement)]
    steps.extend(sorted((step for step in changed if isinstance(step.after, NftElement)), key=_step_key))
    steps.extend(Create(item) for item in sorted(made, key=_sort_key) if isinstance(item, NftElement))
    return steps


def _step_key(step: Step) -> tuple[int, bool, Key]:
    return _sort_key(step.before if isinstance(step, Delete) else step.after)
