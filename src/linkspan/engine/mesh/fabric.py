"""What carries a mesh, rendered: kernel objects, WireGuard's configuration, and babeld's.

Every host has three addresses that follow from the one it has in the mesh (100.127.0.2): that inside WireGuard
(100.126.0.2), by which its peers know it; its MAC on the segment; and its link-local address there (fe80::647f:2), by
which babeld's neighbours know it. So nothing but the mesh address has to be told.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from pathlib import Path

from linkspan.model.mesh import MeshIdentity, MeshPeer
from linkspan.state.fabric import (
    ALIAS,
    NEIGHBOUR_PORT,
    SEGMENT,
    SEGMENT_PORT,
    SEGMENT_VNI,
    WIREGUARD,
    FabricFacts,
    FabricPeer,
)
from linkspan.state.objects import (
    EVERYBODY,
    HOST,
    Address,
    Device,
    FdbEntry,
    KernelObject,
    NftElement,
    Route,
    Sysctl,
    Vxlan,
)

CARRIERS = IPv4Network("100.126.0.0/16")  # addresses inside WireGuard
AROUND_SEGMENT = 14 + 8 + 8 + 20  # what the segment puts around a packet: Ethernet, VXLAN, UDP, IPv4
# What WireGuard puts around one: its header and its tag, UDP, and the packet's own IP header.
AROUND_WIREGUARD = {4: 32 + 8 + 20, 6: 32 + 8 + 40}
HEARD = 180  # seconds after its last handshake that WireGuard takes a peer's packets
HELLO = 0.5  # seconds between babeld's hellos; a neighbour that was not heard twice is left


def carrier_of(address: str) -> str:
    """The address inside WireGuard of the host that has this one in the mesh."""
    return str(CARRIERS.network_address + (int(IPv4Address(address)) & int(CARRIERS.hostmask)))


def segment_mac(address: str) -> str:
    return "02:6c:" + IPv4Address(address).packed.hex(":")


def link_local(address: str) -> str:
    high, low = divmod(int(IPv4Address(address)), 1 << 16)
    return f"fe80::{high:x}:{low:x}"


def mesh_address_of(link_local: str) -> str:
    """Of the host that has this link-local address on the segment."""
    return str(IPv4Address(int(IPv6Address(link_local)) & 0xFFFFFFFF))


def range_of(address: str) -> str:
    """What all hosts of the mesh have their addresses from, of the IP version of this one."""
    parsed = ip_address(address)
    if parsed.version == 6:
        return str(IPv6Network((int(parsed) >> 64 << 64, 64)))
    return str(IPv4Network((int(parsed) >> 16 << 16, 16)))


def facts_of(own: MeshIdentity, peers: Iterable[MeshPeer], kind: str, local: str, mtu: int) -> FabricFacts:
    """`local` is this host's address on its own network, `mtu` what fits into a packet there.

    Without encryption, peers are those of whom an address is known.
    """
    found = []
    for peer in sorted(peers, key=lambda peer: peer.host_id):
        carrier = carrier_of(peer.address) if kind else _first_host(peer, ip_address(local).version)
        if carrier:
            found.append(FabricPeer(peer.address, carrier))
    carrier = carrier_of(own.address) if kind else local
    port = SEGMENT_PORT if kind else own.port
    return FabricFacts(own.address, own.address6, carrier, port, segment_mtu(mtu, local, kind), kind, tuple(found))


def segment_mtu(mtu: int, local: str, kind: str) -> int:
    """What fits into a packet on the segment where `mtu` fits into one of the host's network."""
    version = ip_address(local).version
    if kind:
        return mtu - AROUND_WIREGUARD[version] - AROUND_SEGMENT
    return mtu - AROUND_SEGMENT - (20 if version == 6 else 0)


def render_fabric(facts: FabricFacts) -> Iterator[KernelObject]:
    """What is there with any peers, and what each adds."""
    links = [SEGMENT]
    if facts.kind:
        links.append(WIREGUARD)
        yield Device(HOST, WIREGUARD, facts.kind, ALIAS, mtu=facts.mtu + AROUND_SEGMENT)
        yield Address(HOST, WIREGUARD, f"{facts.carrier}/32")
        yield Sysctl(HOST, f"net/ipv4/conf/{WIREGUARD}/rp_filter", "2")
    yield Vxlan(
        SEGMENT,
        ALIAS,
        vni=SEGMENT_VNI,
        local=facts.carrier,
        port=facts.port,
        mtu=facts.mtu,
        mac=segment_mac(facts.address),
        link=WIREGUARD if facts.kind else "",
    )
    yield from _on_segment(facts)
    yield from _guards(facts, links)
    for peer in facts.peers:
        if facts.kind:
            yield Route(HOST, f"{peer.carrier}/32", WIREGUARD)
        yield NftElement(_set("spread_ends", peer.carrier), f"{facts.port} . {SEGMENT_VNI} . {peer.carrier}")
        yield FdbEntry(SEGMENT, EVERYBODY, peer.carrier)
        yield FdbEntry(SEGMENT, segment_mac(peer.address), peer.carrier)


def _on_segment(facts: FabricFacts) -> Iterator[KernelObject]:
    yield Sysctl(HOST, f"net/ipv6/conf/{SEGMENT}/disable_ipv6", "0")
    yield Sysctl(HOST, f"net/ipv6/conf/{SEGMENT}/accept_ra", "0")
    # Ways to a host and back may differ, and a host that passes packets on sends them out where they came in: it says
    # that there is a shorter way, which there is not.
    yield Sysctl(HOST, f"net/ipv4/conf/{SEGMENT}/rp_filter", "2")
    yield Sysctl(HOST, f"net/ipv4/conf/{SEGMENT}/forwarding", "1")
    for version in (4, 6):
        yield Sysctl(HOST, f"net/ipv{version}/conf/{SEGMENT}/accept_redirects", "0")
    yield Address(HOST, SEGMENT, f"{facts.address}/32")
    yield Address(HOST, SEGMENT, f"{facts.address6}/128")
    yield Address(HOST, SEGMENT, f"{link_local(facts.address)}/64")
    # What no way leads to now must not be sent to the host's router instead.
    for address in (facts.address, facts.address6):
        yield Route(HOST, range_of(address), "", kind="unreachable")
    if facts.kind:
        yield Route(HOST, str(CARRIERS), "", kind="unreachable")


def _guards(facts: FabricFacts, links: Iterable[str]) -> Iterator[KernelObject]:
    """Packets from addresses of the mesh come over its links alone, and into the segment from peers alone."""
    yield NftElement("spread_tunnels", f"{facts.port} . {SEGMENT_VNI}")
    yield NftElement("mesh", range_of(facts.address))
    yield NftElement("mesh6", range_of(facts.address6))
    if facts.kind:
        yield NftElement("mesh", str(CARRIERS))
    for link in links:
        yield NftElement("mesh_links", f'"{link}"')


def places_to_try(
    peers: Iterable[MeshPeer], handshakes: Mapping[str, int | None], tried: Mapping[str, str]
) -> dict[str, str]:
    """Where WireGuard is to try peers that it has not heard of for long, by host id: at the place after the one that
    was `tried` last. Whoever is heard stays where it is heard. `handshakes` are ages in seconds, by public key."""
    found = {}
    for peer in peers:
        age = handshakes.get(peer.public_key)
        if peer.endpoints and (age is None or age > HEARD):
            last = tried.get(peer.host_id, "")
            following = peer.endpoints.index(last) + 1 if last in peer.endpoints else 0
            found[peer.host_id] = peer.endpoints[following % len(peer.endpoints)]
    return found


def wireguard_configuration(own: MeshIdentity, peers: Iterable[MeshPeer], places: Mapping[str, str]) -> str:
    """As `wg syncconf` takes it. A peer without a place stays where it is heard, or may come to us."""
    lines = ["[Interface]", f"PrivateKey = {own.private_key}", f"ListenPort = {own.port}"]
    for peer in sorted(peers, key=lambda peer: peer.host_id):
        lines += ["[Peer]", f"PublicKey = {peer.public_key}", f"AllowedIPs = {carrier_of(peer.address)}/32"]
        if place := places.get(peer.host_id):
            lines.append(f"Endpoint = {place}")
    return "\n".join(lines) + "\n"


def babel_configuration(own: MeshIdentity, socket: Path) -> str:
    """Only mesh addresses are announced and taken in; of this host's its own, and nothing else that it has."""
    version4, version6 = range_of(own.address), range_of(own.address6)
    lines = [
        # A router that starts anew under its old name would not be believed for minutes.
        "random-id true",
        "skip-kernel-setup true",
        # A better way is taken within some five seconds instead of forty.
        "smoothing-half-life 1",
        f"local-path {socket}",
        f"protocol-port {NEIGHBOUR_PORT}",
        # Not all hear each other on the segment: what one tells is told on to others there.
        f"interface {SEGMENT} type tunnel link-quality false split-horizon false max-rtt-penalty 1 "
        f"hello-interval {HELLO} update-interval {8 * HELLO:g}",
        f"redistribute local ip {own.address}/32 eq 32 allow",
        f"redistribute local ip {own.address6}/128 eq 128 allow",
        "redistribute local deny",
        "redistribute deny",
        f"in ip {version4} eq 32 allow",
        f"in ip {version6} eq 128 allow",
        "in deny",
    ]
    return "\n".join(lines) + "\n"


def _first_host(peer: MeshPeer, version: int) -> str:
    for endpoint in peer.endpoints:
        host = endpoint.rpartition(":")[0].strip("[]")
        if ip_address(host).version == version:
            return host
    return ""


def _set(name: str, address: str) -> str:
    return f"{name}6" if ":" in address else name
