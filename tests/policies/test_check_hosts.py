"""`policy check` of hosts: which interface it is about, under which address, and what cannot be known from here."""

from __future__ import annotations

import dataclasses

import msgspec
import pytest

from linkspan.engine.policy.check import Path, check
from linkspan.errors import InvalidArgument, NotFound
from linkspan.model.cluster import Host
from linkspan.model.endpoint import Binding
from linkspan.model.manifests.reading import read_resources
from linkspan.model.snapshot import Snapshot, put
from linkspan.state.host import HostFacts, HostInterface, Underlay
from tests.policies.generated import snapshot

FACTS = HostFacts(
    namespaces="/run/netns",
    name="h1",
    leading_out=frozenset({"eth0"}),
    interfaces=(
        HostInterface("lo", loopback=True, addresses=("127.0.0.1/8",)),
        HostInterface("eth0", addresses=("10.0.0.1/24", "fe80::1/64", "fd00::1/64")),
        HostInterface("eth1", addresses=("192.168.0.1/24",)),
    ),
    underlay=Underlay("eth0", "10.0.0.1"),
)
RULES = """
apiVersion: projectcalico.org/v3
kind: GlobalNetworkPolicy
metadata: {name: web}
spec:
  selector: has(side)
  ingress:
  - {action: Allow, protocol: TCP, source: {nets: [10.0.0.0/24, "fd00::/64"]}, destination: {ports: [80]}}
  - {action: Allow, protocol: TCP, source: {selector: has(app)}, destination: {ports: [81]}}
"""
OUT = ", profiles: [projectcalico-default-allow]"


def interface(host: str, name: str, side: str, more: str = "") -> str:
    return (
        f"---\napiVersion: projectcalico.org/v3\nkind: HostEndpoint\nmetadata: {{name: {host}-{side}, "
        f"labels: {{side: {side}}}}}\nspec: {{node: {host}, {name}{more}}}\n"
    )


def world(*resources: str, **network: object) -> Snapshot:
    """Of containers, city0 is here, and city1 on h2; city is a bridge here."""
    now = snapshot(("city0",))
    city = msgspec.structs.replace(now.networks["city"], bridge="br-city", **network)  # type: ignore[arg-type]
    endpoint = msgspec.structs.replace(now.endpoints["city0"], gateway="10.1.0.1", host_interface="v-city0")
    hosts = [put(Host(id="h2", name="h2", address="10.0.0.2", address6="fd00::2"))]
    remotes = [put(msgspec.structs.replace(one, host_id="h2")) for one in now.remotes.values()]
    told = [put(one) for one in read_resources("".join([RULES, *resources]).encode())]
    return now.after([put(city), put(endpoint), *hosts, *remotes, *told])


def asked(now: Snapshot, source: str, to: str, port: int = 80, facts: HostFacts = FACTS) -> list[tuple[str, str, bool]]:
    """Where each path begins and ends, with the hosts' interfaces, and whether it is allowed."""

    def at(address: str, where: str) -> str:
        return f"{address} ({where})" if where else address

    def shown(path: Path) -> tuple[str, str, bool]:
        return at(path.source, path.egress_at), at(path.destination, path.ingress_at), path.allowed

    return [shown(path) for path in check(now, facts, source, to, "tcp", port)]


def test_of_this_host_the_interface_that_leads_there() -> None:
    now = world(interface("h1", "interfaceName: eth0", "out", OUT))
    assert asked(now, "10.0.0.7", "host:h1") == [("10.0.0.7", "10.0.0.1 (h1 eth0)", True)]
    assert asked(now, "198.51.100.7", "host:h1") == [("198.51.100.7", "10.0.0.1 (h1 eth0)", False)]
    assert asked(now, "192.168.0.7", "host:h1") == [("192.168.0.7", "192.168.0.1 (h1 eth1)", True)]  # nothing said
    assert asked(now, "192.168.0.7", "10.0.0.1") == [("192.168.0.7", "10.0.0.1 (h1 eth1)", True)]
    assert asked(now, "192.168.0.7", "host:h1/eth0") == [("192.168.0.7", "10.0.0.1 (h1 eth0)", False)]
    assert asked(now, "fd00::7", "host:h1") == [("fd00::7", "fd00::1 (h1 eth0)", True)]
    assert asked(now, "host:h1", "198.51.100.7") == [("10.0.0.1 (h1 eth0)", "198.51.100.7", True)]
    assert asked(now, "198.51.100.7", "host:h1", 22)[0][2]  # a failsafe port
    nowhere = dataclasses.replace(FACTS, leading_out=frozenset())
    with pytest.raises(InvalidArgument, match=r"which interface of host h1 leads to .* is not known"):
        asked(now, "198.51.100.7", "host:h1", facts=nowhere)
    assert asked(world(), "198.51.100.7", "host:h1", facts=nowhere)[0][2]


def test_between_hosts() -> None:
    now = world(interface("h2", "expectedIPs: [10.0.0.2]", "in"), interface("h2", "interfaceName: eth9", "far", OUT))
    assert asked(now, "host:h1", "host:h2") == [
        ("10.0.0.1 (h1 eth0)", "10.0.0.2 (h2)", True),
        ("fd00::1 (h1 eth0)", "fd00::2 (h2 eth9)", True),
    ]
    assert [allowed for *_, allowed in asked(now, "host:h2", "host:h1", 443)] == [False, True]  # its egress is closed
    assert asked(now, "192.0.2.1", "10.0.0.2") == [("192.0.2.1", "10.0.0.2 (h2)", False)]
    assert asked(now, "host:h1", "host:h1") == [("127.0.0.1 (h1)", "127.0.0.1 (h1)", True)]


def test_of_another_host_that_has_several_interfaces_it_has_to_be_said_which() -> None:
    now = world(interface("h2", "interfaceName: eth0", "in"), interface("h2", "interfaceName: '*'", "rest", OUT))
    with pytest.raises(InvalidArgument, match=r"host h2 has several interfaces \(eth0, \*\): ask for host:h2/NAME"):
        asked(now, "host:h2", "192.0.2.1")
    assert asked(now, "host:h2/eth0", "192.0.2.1") == [("10.0.0.2 (h2 eth0)", "192.0.2.1", False)]
    assert asked(now, "host:h2/eth1", "192.0.2.1") == [("10.0.0.2 (h2 eth1)", "192.0.2.1", True)]
    assert asked(now, "192.0.2.1", "host:h2")[0][2] is False  # both say so


def test_containers_and_hosts() -> None:
    now = world(interface("h1", "interfaceName: '*'", "out"), interface("h2", "interfaceName: '*'", "in"))
    assert asked(now, "city0", "host:h1", 999) == [("10.1.0.2", "10.1.0.1 (h1 br-city)", True)]  # * is not about ours
    assert asked(now, "host:h1", "city0", 999) == [("10.1.0.1 (h1 br-city)", "10.1.0.2", True)]
    assert asked(now, "city1", "host:h2", 999)[0] == ("10.1.0.3", "10.0.0.2 (h2)", True)
    # Containers leave their host under its address, unless their network says otherwise.
    here, elsewhere = (
        check(now, FACTS, "city0", "host:h2", "tcp", 80)[0],
        check(now, FACTS, "city1", "10.0.0.1", "tcp", 80)[0],
    )
    assert (here.seen_as, here.allowed, elsewhere.seen_as, elsewhere.allowed) == ("10.0.0.1", True, "10.0.0.2", True)
    plain = world(interface("h2", "interfaceName: '*'", "in"), masquerade=False)
    assert [(p.seen_as, p.allowed) for p in check(plain, FACTS, "city0", "10.0.0.2", "tcp", 80)] == [
        ("10.1.0.2", False)
    ]
    assert [p.allowed for p in check(plain, FACTS, "city0", "10.0.0.2", "tcp", 81)] == [True]


@pytest.mark.parametrize(
    ("network", "here", "there"),
    [
        ({"bridge": "", "encapsulation": "never"}, "h1 v-city0", "h1 eth0"),
        ({"bridge": "", "encapsulation": "vxlan", "vni": 4096}, "h1 v-city0", "h1 vx-4096"),
        ({"bridge": "", "path": "routed"}, "h1 v-city0", "h1 eth0"),
        ({"vni": 4097}, "h1 br-city", "h1 vx-4097"),
    ],
)
def test_the_way_to_containers_depends_on_their_network(network: dict[str, object], here: str, there: str) -> None:
    now = world().after([put(msgspec.structs.replace(world().networks["city"], **network))])  # type: ignore[arg-type]
    assert check(now, FACTS, "host:h1", "city0", "tcp", 80)[0].egress_at == here
    assert check(now, FACTS, "host:h1", "city1", "tcp", 80)[0].egress_at == there


def test_a_published_port_leads_into_a_container() -> None:
    now = world()
    binding = Binding(protocol="tcp", address="*", port=8080, container_port=80)
    now = now.after([put(msgspec.structs.replace(now.endpoints["city0"], bindings=(binding,)))])
    with pytest.raises(InvalidArgument, match="port 8080 of host h1 is published: ask for city0:80"):
        asked(now, "198.51.100.7", "host:h1", 8080)
    assert asked(now, "198.51.100.7", "host:h2", 8080)


@pytest.mark.parametrize(("named", "said"), [("host:h3", "No such host: h3"), ("host:h1/eth7", "no interface eth7")])
def test_hosts_that_are_not_there(named: str, said: str) -> None:
    with pytest.raises(NotFound, match=said):
        asked(world(), named, "192.0.2.1")
