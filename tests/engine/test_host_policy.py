"""Policies about the hosts' own interfaces: what passes, and that nobody cuts hosts off without knowing it."""

from __future__ import annotations

import dataclasses

import msgspec
import pytest

from linkspan.engine.policy.guards import host_guard
from linkspan.engine.policy.host import Own, cut_off, host_say
from linkspan.engine.policy.verdict import Packet
from linkspan.engine.render import render_all, render_touched, touched
from linkspan.engine.resources import apply_resources, check_access, delete_resources
from linkspan.errors import Conflict
from linkspan.model.cluster import Host
from linkspan.model.manifests.reading import read_resources
from linkspan.model.network import Network
from linkspan.model.snapshot import Snapshot, put
from linkspan.state.guard import ACCEPT, DROP, Guard
from linkspan.state.host import HostInterface

from .conftest import HOST

H1 = Host(id="1", name="h1", address="10.0.0.1", address6="fd00::1")
H2 = Host(id="2", name="h2", address="10.0.0.2", address6="fd00::2")
H3 = Host(id="3", name="h3", address6="fd00::3")
OWN = Own(H1, {"eth0": frozenset({"10.0.0.1", "fd00::1"}), "eth1": frozenset({"192.168.0.1"})}, (2376,))
BACK = Network(id="n" * 64, name="back", driver="overlay", created="", scope="global", vni=4096)


def manifest(kind: str, name: str, spec: str, labels: str = "{}") -> str:
    head = f"---\napiVersion: projectcalico.org/v3\nkind: {kind}\n"
    return f"{head}metadata: {{name: {name}, labels: {labels}}}\nspec: {spec}\n"


def interface(host: str = "h1", name: str = "eth0", profiles: str = "[]") -> str:
    spec = f"{{node: {host}, interfaceName: '{name}', profiles: {profiles}}}"
    return manifest("HostEndpoint", f"{host}-{name.replace('*', 'all')}", spec, f"{{host: {host}}}")


def policy(name: str, rules: str, more: str = "") -> str:
    return manifest("GlobalNetworkPolicy", name, f"{{selector: has(host), ingress: {rules}, egress: {rules}{more}}}")


ALLOW_ALL = "[{action: Allow}]"
TUNNELS = "[{action: Allow, protocol: UDP, destination: {ports: [4789]}}]"


class Hosts:
    def __init__(self) -> None:
        self.now = Snapshot().after([put(H2), put(H3), put(BACK)])

    def apply(self, text: str, *, force: bool = False) -> None:
        asked = read_resources(text.encode())
        done = apply_resources(self.now, asked, ["uid"] * len(asked), "global", "2026-01-01T12:00:00Z", HOST)
        if not force:
            check_access(self.now, done.change, OWN)
        self.now = self.now.after(done.change.writes)

    def says(self, direction: str, packet: Packet, name: str = "h1-eth0") -> tuple[bool, str]:
        found = host_say(self.now, self.now.host_endpoints[name], direction, packet)
        return found.allowed, found.rule


@pytest.fixture
def hosts() -> Hosts:
    return Hosts()


def test_an_interface_is_closed_until_something_opens_it(hosts: Hosts) -> None:
    hosts.apply(interface(), force=True)
    web = Packet("192.0.2.1", "10.0.0.1", 6, port=80)
    assert hosts.says("Ingress", web) == (
        False,
        "no policy is about its ingress, and HostEndpoint h1-eth0 has not the profile projectcalico-default-allow",
    )
    hosts.apply(policy("web", "[{action: Allow, protocol: TCP, destination: {ports: [80]}}]"), force=True)
    assert hosts.says("Ingress", web) == (True, "GlobalNetworkPolicy web, ingress rule 1")
    other = Packet("192.0.2.1", "10.0.0.1", 6, port=81)
    assert hosts.says("Ingress", other) == (
        False,
        "the end of tier default: no rule of GlobalNetworkPolicy web matches",
    )


def test_a_profile_lets_pass_what_no_policy_is_about(hosts: Hosts) -> None:
    hosts.apply(interface(profiles="[projectcalico-default-allow]"))
    web = Packet("192.0.2.1", "10.0.0.1", 6, port=80)
    assert hosts.says("Ingress", web)[0]
    with pytest.raises(Conflict):
        hosts.apply(policy("none", "[]", ", types: [Ingress]"))
    hosts.apply(policy("none", "[]", ", types: [Ingress]"), force=True)
    assert not hosts.says("Ingress", web)[0] and hosts.says("Egress", web)[0]
    hosts.apply(manifest("Tier", "first", "{order: 1}") + policy("none", "[{action: Pass}]", ", tier: first"))
    assert hosts.says("Ingress", web)[0]


@pytest.mark.parametrize(
    ("direction", "protocol", "port", "open_"),
    [
        ("Ingress", 6, 22, True),
        ("Ingress", 17, 68, True),
        ("Ingress", 6, 2379, True),
        ("Ingress", 17, 53, False),
        ("Ingress", 6, 80, False),
        ("Egress", 17, 53, True),
        ("Egress", 6, 2380, True),
        ("Egress", 6, 22, False),
    ],
)
def test_failsafe_ports_stay_open(hosts: Hosts, direction: str, protocol: int, port: int, open_: bool) -> None:
    hosts.apply(interface() + policy("deny", "[{action: Deny}]"), force=True)
    assert hosts.says(direction, Packet("192.0.2.1", "10.0.0.1", protocol, port=port))[0] is open_


def test_what_cuts_hosts_off_is_refused_with_the_rule(hosts: Hosts) -> None:
    with pytest.raises(Conflict) as refused:
        hosts.apply(interface() + policy("deny", "[{action: Deny}]"))
    assert str(refused.value).splitlines() == [
        "this would cut hosts off (use --force to do it all the same):",
        "UDP 4789 from h2 (10.0.0.2) at host h1: GlobalNetworkPolicy deny, ingress rule 1",
        "UDP 4789 to h2 (10.0.0.2) at host h1: GlobalNetworkPolicy deny, egress rule 1",
        "UDP 4789 from h3 (fd00::3) at host h1: GlobalNetworkPolicy deny, ingress rule 1",
        "UDP 4789 to h3 (fd00::3) at host h1: GlobalNetworkPolicy deny, egress rule 1",
        "TCP 2376 (the API) at host h1: GlobalNetworkPolicy deny, ingress rule 1",
    ]
    assert not hosts.now.host_endpoints
    api = "[{action: Allow, protocol: TCP, source: {nets: [10.9.0.0/16]}, destination: {ports: [2376]}}]"
    with pytest.raises(Conflict) as refused:
        hosts.apply(interface() + policy("api", api))
    assert "the API" not in str(refused.value)
    hosts.apply(interface() + policy("api", api) + policy("tunnels", TUNNELS))


def test_what_is_cut_off_already_stands_in_nobodys_way(hosts: Hosts) -> None:
    hosts.apply(interface() + policy("deny", "[{action: Deny}]"), force=True)
    hosts.apply(policy("deny", "[{action: Log}, {action: Deny}]"))
    hosts.apply(policy("open", ALLOW_ALL, ", order: 1"))
    assert not list(cut_off(hosts.now, OWN))
    gone = delete_resources(hosts.now, [hosts.now.policies["open"]])
    with pytest.raises(Conflict, match="this would cut hosts off"):
        check_access(hosts.now, gone.change, OWN)


@pytest.mark.parametrize(
    ("text", "cut"),
    [
        (interface("h2"), True),
        (interface("h1", "*"), True),
        (interface("h1", "eth7"), False),  # nobody reaches it there
        (interface("elsewhere"), False),
        (manifest("HostEndpoint", "a", "{node: h1, expectedIPs: [10.0.0.1]}"), True),
        (manifest("HostEndpoint", "a", "{node: h1, expectedIPs: [10.0.0.9]}"), False),
    ],
)
def test_which_interfaces_matter(hosts: Hosts, text: str, cut: bool) -> None:
    hosts.apply(text, force=True)
    assert any("UDP" in one for one in cut_off(hosts.now, OWN)) is cut


def test_the_way_of_a_mesh_is_between_its_hosts_own_addresses(hosts: Hosts) -> None:
    own, other = (
        msgspec.structs.replace(host, address=f"10.32.0.{host.id}", wireguard="key", endpoints=endpoints)
        for host, endpoints in ((H1, ("10.0.0.1:6784", "[fd00::1]:6784")), (H2, ("10.0.0.2:6785", "[fd00::2]:6785")))
    )
    hosts.now = Snapshot().after([put(other), put(BACK)])
    mesh = Own(own, OWN.interfaces)
    hosts.apply(interface(), force=True)
    assert [one.partition(" at host")[0] for one in cut_off(hosts.now, mesh)] == [
        "the mesh's UDP from h2 (10.0.0.2)",
        "the mesh's UDP to h2 (10.0.0.2)",
    ]
    only6 = "[{action: Allow, protocol: UDP, source: {nets: ['fd00::/64']}, destination: {ports: ['6784:6785']}}]"
    hosts.apply(policy("mesh", only6), force=True)
    assert list(cut_off(hosts.now, mesh)) == []  # one way is enough


FACTS = dataclasses.replace(
    HOST,
    name="h1",
    interfaces=(
        HostInterface("lo", loopback=True),
        HostInterface("eth0", addresses=("10.0.0.1/24",)),
        HostInterface("eth1", addresses=("10.1.0.1/24", "fd01::1/64")),
        HostInterface("docker0", addresses=("172.17.0.1/16",), ours=True),
    ),
)


def guarded(hosts: Hosts) -> dict[str, tuple[str, str]]:
    """By interface: the verdicts at the ends of the chains in and out."""
    guard = host_guard(hosts.now, FACTS)
    if guard is None:
        return {}
    last = {chain.name: chain.rules[-1].verdict for chain in guard.chains}
    return {name: (last[incoming], last[outgoing]) for name, incoming, outgoing in guard.entries}


def test_what_becomes_of_interfaces_in_the_kernel(hosts: Hosts) -> None:
    assert guarded(hosts) == {}
    hosts.apply(interface("h2"), force=True)
    assert guarded(hosts) == {}  # another host's
    hosts.apply(interface("h1", "eth7"), force=True)
    assert guarded(hosts) == {"eth7": (DROP, DROP)}  # it may come
    hosts.apply(interface("h1", "*", "[projectcalico-default-allow]"), force=True)
    assert guarded(hosts) == {"eth7": (DROP, DROP), "eth0": (ACCEPT, ACCEPT), "eth1": (ACCEPT, ACCEPT)}
    hosts.apply(manifest("HostEndpoint", "a", "{node: h1, expectedIPs: ['fd01::1', 192.0.2.1]}"), force=True)
    assert guarded(hosts)["eth1"] == (DROP, DROP)


def test_what_a_change_touches_is_that_part_of_the_whole(hosts: Hosts) -> None:
    hosts.now = Snapshot()
    for text in (
        interface(),
        policy("web", "[{action: Allow, source: {selector: has(host)}}]"),
        manifest("GlobalNetworkSet", "office", "{nets: [192.0.2.0/24]}", "{host: x}"),
        manifest("Tier", "early", "{order: 1}") + policy("web", ALLOW_ALL, ", tier: early"),
        manifest("Tier", "early", "{order: 2, defaultAction: Pass}"),
    ):
        before = hosts.now
        asked = read_resources(text.encode())
        done = apply_resources(before, asked, ["uid"] * len(asked), "global", "2026-01-01T12:00:00Z", HOST)
        hosts.now = before.after(done.change.writes)
        parts = touched(before, hosts.now, done.change.writes)
        for moment in (before, hosts.now):
            whole = {k: o for k, o in render_all(moment, {}, FACTS).items() if isinstance(o, Guard)}
            assert {k: o for k, o in render_touched(moment, parts, {}, FACTS).items() if isinstance(o, Guard)} == whole
    assert not touched(hosts.now, hosts.now.after([put(H3)]), [put(H3)]).own_interfaces


def test_a_large_cluster_is_not_looked_at_pair_by_pair(hosts: Hosts) -> None:
    others = [Host(id=f"{n}", name=f"h{n}", address=f"10.8.{n >> 8}.{n & 255}") for n in range(10, 510)]
    hosts.now = Snapshot().after([put(BACK), *map(put, others)])
    hosts.apply("".join(interface(host.name) for host in others), force=True)
    assert 0 < len(list(cut_off(hosts.now, OWN))) <= 400
