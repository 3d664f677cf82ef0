"""What is compiled of policies means what they mean; and a change touches what it concerns."""

from __future__ import annotations

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from linkspan.drivers.available import DRIVERS
from linkspan.engine.policy import verdict
from linkspan.engine.policy.guards import guard_of
from linkspan.engine.policy.verdict import say
from linkspan.engine.render import render_all, render_touched, touched
from linkspan.model.policy import Policy
from linkspan.model.selections import Selections, addresses
from linkspan.model.snapshot import Snapshot, Write, drop, put
from linkspan.state.guard import Guard
from linkspan.state.host import HostFacts
from linkspan.state.objects import KernelObject, Key, State
from tests.policies.generated import TIERS, WORLD, endpoints, packets, policies, snapshot
from tests.policies.machine import lets
from tests.policies.oracle import Packet, passes

PLACES = dict(endpoints())
HERE = tuple(PLACES)[::2]
NOW = snapshot(HERE)


@settings(max_examples=80)
@given(policies(), st.lists(packets(), min_size=1, max_size=8))
def test_it_means_what_the_documentation_says(made: list[Policy], sent: list[Packet]) -> None:
    now = NOW.after(map(put, made))
    for name in HERE:
        place, guard = PLACES[name], guard_of(now, now.sandboxes[name])
        for packet in sent:
            for direction in ("Ingress", "Egress"):
                meant = passes(place, direction, packet, made, TIERS, WORLD)
                fields = (packet.source, packet.destination, packet.protocol, packet.source_port, packet.port)
                asked = verdict.Packet(*fields, packet.icmp_type, packet.icmp_code)
                said = say(now, now.selections.applying(name), direction, asked)
                assert said.allowed == meant, (name, direction, packet, said)
                assert (guard is None or lets(guard, "eth0", direction, packet)) == meant, (name, direction, packet)


def change(now: Snapshot, made: list[Policy], number: int) -> list[Write]:
    """One of many: of policies, labels, places, sets, tiers."""
    kinds = [
        *([put(policy)] for policy in made),
        *([drop(policy)] for policy in now.policies.values()),
        *([drop(endpoint)] for endpoint in now.endpoints.values()),
        *([drop(remote)] for remote in now.remotes.values()),
        *([drop(set_)] for set_ in now.network_sets.values()),
        *([drop(tier)] for tier in now.tiers.values()),
        *([put(NOW.containers[name])] for name in HERE),
        *([put(NOW.endpoints[name])] for name in HERE),
        *([put(record)] for record in (*NOW.remotes.values(), *NOW.network_sets.values(), *NOW.tiers.values())),
        [relabelled(now, "city0", {"app": "db"})],
        [relabelled(now, "town2", {"role": "client"})],
    ]
    return kinds[number % len(kinds)]


def relabelled(now: Snapshot, name: str, labels: dict[str, str]) -> Write:
    container = now.containers[name]
    return put(msgspec.structs.replace(container, config=msgspec.structs.replace(container.config, labels=labels)))


@settings(max_examples=20)
@given(policies(), policies(), st.lists(st.integers(0, 10_000), min_size=1, max_size=6))
def test_the_index_and_what_a_change_touches(first: list[Policy], second: list[Policy], then: list[int]) -> None:
    now = NOW.after(map(put, first))
    for number in then:
        writes = change(now, second, number)
        before, now = now, now.after(writes)
        assert whom(now.selections) == whom(anew(now).selections)
        parts = touched(before, now, writes)
        assert differing(*(guards(render_touched(moment, parts, DRIVERS)) for moment in (before, now))) == differing(
            *(guards(render_all(moment, DRIVERS, FACTS)) for moment in (before, now))
        )
    assert whom(now.after(map(drop, now.policies.values())).selections) == whom(Selections())


def guards(state: State) -> dict[Key, KernelObject]:
    return {key: item for key, item in state.items() if isinstance(item, Guard)}


def differing(one: dict[Key, KernelObject], other: dict[Key, KernelObject]) -> set[Key]:
    return {key for key in {*one, *other} if one.get(key) != other.get(key)}


FACTS = HostFacts(namespaces="/run/netns", ip_forward=False, forward_accept=False)


def anew(now: Snapshot) -> Snapshot:
    """The same records, put in another order: the policies first."""
    records = [*now.policies.values(), *now.networks.values(), *now.containers.values(), *now.sandboxes.values()]
    records += [*now.network_sets.values(), *now.tiers.values(), *now.remotes.values(), *now.endpoints.values()]
    return Snapshot().after(map(put, records))


def whom(selections: Selections) -> dict[str, object]:
    """What it says, whatever its numbers are."""
    return {
        "addresses": {s: addresses(bits, 4)[0] | addresses(bits, 6)[0] for s, bits in selections.bits.items()},
        "nets": {s: set(selections.nets_selected(s)) for s in selections.nets},
        "policies": {id_: held.policy for id_, held in selections.policies.items()},
        "applying": {id_: {held.policy.id for held in selections.applying(id_)} for id_ in selections.members},
    }
