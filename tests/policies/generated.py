"""Policies for hypothesis to choose, and the places that they are about."""

from __future__ import annotations

from collections.abc import Iterator

import hypothesis.strategies as st
import msgspec

from linkspan.model.cluster import Remote
from linkspan.model.container import Config, Container, EndpointSettings, HostConfig
from linkspan.model.endpoint import Endpoint, Sandbox
from linkspan.model.network import Network
from linkspan.model.policy import Entity, Icmp, NetworkSet, NetworkSetSpec, Policy, PolicySpec, Rule, Tier, TierSpec
from linkspan.model.resource import Metadata
from linkspan.model.snapshot import Snapshot, put
from tests.policies.oracle import NETWORK_SELECTORS, SELECTORS, Packet, Place

NETWORKS = {"city": {"zone": "city"}, "town": {}}
LABELS = (
    {"app": "web"},
    {"app": "web", "role": "client"},
    {"app": "db"},
    {"app": "db", "role": "server"},
    {"role": "client"},
    {},
)
SETS = {"office": ({"app": "web"}, ("10.9.0.0/16", "fd00:9::/64")), "near": ({"role": "client"}, ("10.1.0.4/31",))}
NETS = ("10.1.0.0/24", "10.2.0.0/24", "10.1.0.2/32", "10.9.0.0/16", "0.0.0.0/0", "fd00:1::/64", "fd00:2::3/128", "::/0")
PORTS = (80, 81, "80:90", "1:1000", 8080, "8000:9000")
TIERS = (
    Tier(metadata=Metadata(name="default"), spec=TierSpec(order=1_000_000.0)),
    Tier(metadata=Metadata(name="first"), spec=TierSpec(order=10.0)),
    Tier(metadata=Metadata(name="gentle"), spec=TierSpec(order=20.0, default_action="Pass")),
)


def endpoints() -> Iterator[tuple[str, Place]]:
    """Name and place of ten: six on one network, four on another; the odd ones have IPv4 only."""
    for network, count in (("city", 6), ("town", 4)):
        for number in range(count):
            net = 1 if network == "city" else 2
            addresses = (f"10.{net}.0.{number + 2}", *([] if number % 2 else [f"fd00:{net}::{number + 2}"]))
            yield f"{network}{number}", Place(LABELS[number], addresses, network, NETWORKS[network])


WORLD = [*(place for _, place in endpoints()), *(Place(*set_) for set_ in SETS.values())]


def few(choices: tuple[object, ...]) -> st.SearchStrategy[tuple[object, ...]]:
    return st.lists(st.sampled_from(choices), max_size=2, unique=True).map(tuple)


seldom = st.sampled_from([False, False, False, True])


@st.composite
def entities(draw: st.DrawFn, ported: bool) -> Entity:
    """Most rules say one thing of an end, or nothing."""
    return Entity(
        nets=draw(few(NETS)) if draw(seldom) else (),  # type: ignore[arg-type]
        not_nets=draw(few(NETS[:-1])) if draw(seldom) else (),  # type: ignore[arg-type]
        selector=draw(st.sampled_from(list(SELECTORS))),
        not_selector=draw(st.sampled_from(list(SELECTORS))) if draw(seldom) else "",
        namespace_selector=draw(st.sampled_from(list(NETWORK_SELECTORS))) if draw(seldom) else "",
        ports=draw(few(PORTS)) if ported else (),  # type: ignore[arg-type]
        not_ports=draw(few(PORTS)) if ported and draw(seldom) else (),  # type: ignore[arg-type]
    )


@st.composite
def rules(draw: st.DrawFn) -> Rule:
    protocol = draw(st.sampled_from(["TCP", "TCP", "UDP", "ICMP", "ICMPv6", None, 17]))
    ported = protocol in ("TCP", "UDP", 17)
    icmps = st.builds(Icmp, type=st.sampled_from([8, 128]), code=st.sampled_from([None, 0, 1]))
    return Rule(
        action=draw(st.sampled_from(["Allow", "Allow", "Deny", "Pass", "Log"])),
        ip_version=draw(st.sampled_from([None, None, None, 4, 6])),
        protocol=protocol,
        not_protocol=draw(st.sampled_from(["TCP", "ICMP"])) if protocol is None and draw(seldom) else None,
        icmp=draw(icmps) if str(protocol).startswith("ICMP") and draw(seldom) else None,
        not_icmp=draw(icmps) if str(protocol).startswith("ICMP") and draw(seldom) else None,
        source=draw(entities(ported and draw(seldom))),
        destination=draw(entities(ported)),
    )


@st.composite
def runs(draw: st.DrawFn) -> list[Rule]:
    """Some rules; or many alike, which are not rules of their own in the kernel."""
    if not draw(st.booleans()):
        return draw(st.lists(rules(), max_size=4))
    action, protocol = draw(st.sampled_from(["Allow", "Deny"])), st.sampled_from(["TCP", "UDP", None])
    peers = st.one_of(
        st.builds(Entity, selector=st.sampled_from(list(SELECTORS))),
        st.builds(Entity, nets=few(NETS)),  # type: ignore[arg-type]
    )
    incoming = draw(st.booleans())

    def rule(peer: Entity, protocol: str | None, ports: tuple[int | str, ...]) -> Rule:
        there = Entity() if incoming else peer
        to = msgspec.structs.replace(there, ports=ports if protocol else ())
        return Rule(action=action, protocol=protocol, source=peer if incoming else Entity(), destination=to)

    alike = st.builds(rule, peers, protocol, few(PORTS))  # type: ignore[arg-type]
    return [*draw(st.lists(alike, min_size=5, max_size=12)), *draw(st.lists(rules(), max_size=2))]


@st.composite
def policies(draw: st.DrawFn) -> list[Policy]:
    found = []
    for number in range(draw(st.integers(1, 4))):
        namespace = draw(st.sampled_from(["", "", "city", "town"]))
        types = draw(st.sampled_from([("Ingress",), ("Egress",), ("Ingress", "Egress")]))
        spec = PolicySpec(
            tier=draw(st.sampled_from(["default", "default", "first", "gentle"])),
            order=draw(st.sampled_from([None, 1.0, 2.5])),
            selector=draw(st.sampled_from(list(SELECTORS))),
            namespace_selector=draw(st.sampled_from(["", "all()", 'zone == "city"'])) if not namespace else "",
            types=types,
            ingress=tuple(draw(runs())) if "Ingress" in types else (),
            egress=tuple(draw(runs())) if "Egress" in types else (),
        )
        found.append(Policy(metadata=Metadata(name=f"p{number}", namespace=namespace), spec=spec))
    return found


@st.composite
def packets(draw: st.DrawFn) -> Packet:
    """From and to endpoints, and addresses that are nobody's, of one IP version."""
    version = draw(st.sampled_from([4, 6]))
    strangers = ("10.9.0.1", "192.0.2.1") if version == 4 else ("fd00:9::1", "2001:db8::1")
    known = [a for _, place in endpoints() for a in place.addresses if (":" in a) == (version == 6)]
    ends = st.sampled_from([*known, *strangers])
    protocol = draw(st.sampled_from([6, 6, 17, 1 if version == 4 else 58]))
    ports = st.sampled_from([80, 81, 90, 91, 443, 8080, 8500, 40000])
    icmp = protocol in (1, 58)
    return Packet(
        draw(ends),
        draw(ends),
        protocol,
        0 if icmp else draw(ports),
        0 if icmp else draw(ports),
        draw(st.sampled_from([8, 128, 3])) if icmp else 0,
        draw(st.sampled_from([0, 1])) if icmp else 0,
    )


def snapshot(here: tuple[str, ...]) -> Snapshot:
    """Of the endpoints some are on this host, in sandboxes at their names; the others elsewhere."""
    now = Snapshot()
    for name, labels in NETWORKS.items():
        now = now.after([put(Network(id=name, name=name, driver="bridge", created="", bridge=name, labels=labels))])
    for name, place in endpoints():
        addresses = {"address": place.addresses[0], "address6": (*place.addresses, "")[1]}
        if name not in here:
            remote = Remote(
                id=name,
                network_id=place.network,
                host_id="h2",
                container_id=name,
                name=name,
                labels=place.labels,
                **addresses,
            )
            now = now.after([put(remote)])
            continue
        container = Container(
            id=name,
            name=name,
            created="",
            image_id="",
            config=Config(labels=dict(place.labels)),
            host_config=HostConfig(),
            networks={place.network: EndpointSettings()},
        )
        sandbox = Sandbox(id=name, container_id=name, kind="own", path=name)
        endpoint = Endpoint(
            id=name,
            network_id=place.network,
            sandbox_id=name,
            container_id=name,
            interface="eth0",
            host_interface=f"v-{name}",
            **addresses,
        )
        now = now.after([put(container), put(sandbox), put(endpoint)])
    for name, (labels, nets) in SETS.items():
        now = now.after([put(NetworkSet(metadata=Metadata(name=name, labels=labels), spec=NetworkSetSpec(nets=nets)))])
    return now.after(map(put, TIERS))
