"""What carries a mesh, rendered: addresses that follow from one, kernel objects, WireGuard's and babeld's settings."""

from __future__ import annotations

import dataclasses
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from linkspan.engine.mesh.fabric import (
    babel_configuration,
    carrier_of,
    facts_of,
    link_local,
    mesh_address_of,
    places_to_try,
    range_of,
    render_fabric,
    segment_mac,
    segment_mtu,
    wireguard_configuration,
)
from linkspan.model.mesh import MeshIdentity, MeshPeer
from linkspan.state.fabric import SEGMENT, WIREGUARD
from linkspan.state.objects import Device, FdbEntry, NftElement, Route, Vxlan, state_of
from linkspan.state.plan import Delete, apply, diff

OWN = MeshIdentity("mesh", "a", "h1", "100.127.0.1", "fd6c::1", "private")
SECOND = MeshPeer("b", "h2", "100.127.0.2", "fd6c::2", "public2", ("10.211.55.2:6784", "10.9.9.2:6784"))
THIRD = MeshPeer("c", "h3", "100.127.1.3", "fd6c::3", "public3", ("[fd00::3]:6784",))
HIDDEN = MeshPeer("d", "h4", "100.127.0.4", "fd6c::4", "public4")

mesh_addresses = st.ip_addresses(network=IPv4Network("100.127.0.0/16")).map(str)


@given(mesh_addresses, mesh_addresses)
def test_what_follows_from_an_address_is_one_hosts_alone(one: str, other: str) -> None:
    for follows in (carrier_of, segment_mac, link_local):
        assert (follows(one) == follows(other)) == (one == other)
    assert mesh_address_of(link_local(one)) == one
    assert IPv4Address(carrier_of(one)) in IPv4Network("100.126.0.0/16")


def test_a_range_is_what_all_have_their_addresses_from() -> None:
    assert (range_of("100.127.3.4"), range_of("fd6c:0:0:1::7")) == ("100.127.0.0/16", "fd6c:0:0:1::/64")


def test_what_fits_into_a_packet() -> None:
    """What is around one was measured: a packet of that size passes in one piece."""
    assert segment_mtu(1500, "10.0.0.1", "tun") == 1500 - 60 - 50
    assert segment_mtu(1500, "fd00::1", "tun") == 1500 - 80 - 50
    assert segment_mtu(1500, "10.0.0.1", "") == 1500 - 50
    assert segment_mtu(1500, "fd00::1", "") == 1500 - 70


def test_a_peer_comes_and_goes_without_the_others() -> None:
    alone, two = (facts_of(OWN, peers, "tun", "10.211.55.1", 1500) for peers in ((SECOND,), (SECOND, HIDDEN)))
    before, after = (state_of(render_fabric(facts)) for facts in (alone, two))
    come, gone = diff(before, after), diff(after, before)
    assert len(come) == len(gone) == 4  # its route inside, its way into the segment, and two forwarding entries
    assert all(isinstance(step, Delete) and "100.126.0.4" in str(step.before) for step in gone)
    assert apply(gone, apply(come, before)) == before


def test_links_encrypted_by_a_process_by_the_kernel_and_not_at_all() -> None:
    found = {
        kind: list(render_fabric(facts_of(OWN, [SECOND, THIRD, HIDDEN], kind, "10.211.55.1", 1500)))
        for kind in ("tun", "wireguard", "")
    }
    for kind, objects in found.items():
        (segment,) = (item for item in objects if isinstance(item, Vxlan))
        assert (segment.name, segment.link) == (SEGMENT, WIREGUARD if kind else "")
        assert [item.kind for item in objects if isinstance(item, Device)] == ([kind] if kind else [])
        links = {item.element for item in objects if isinstance(item, NftElement) and item.set == "mesh_links"}
        assert links == ({'"linkspan-wg"', '"linkspan-mesh"'} if kind else {'"linkspan-mesh"'})
        # What no way leads to is not for the host's router.
        assert {"100.127.0.0/16", "fd6c::/64"} <= {
            item.destination for item in objects if isinstance(item, Route) and item.kind == "unreachable"
        }
    ends = {kind: {i.destination for i in objects if isinstance(i, FdbEntry)} for kind, objects in found.items()}
    assert ends["tun"] == {"100.126.0.2", "100.126.1.3", "100.126.0.4"}
    assert ends[""] == {"10.211.55.2"}  # of whom an address of this host's IP version is known


def test_without_encryption_over_ipv6() -> None:
    objects = list(render_fabric(facts_of(OWN, [SECOND, THIRD], "", "fd00::1", 1500)))
    assert {item.destination for item in objects if isinstance(item, FdbEntry)} == {"fd00::3"}
    assert {i.set for i in objects if isinstance(i, NftElement) and i.set.startswith("spread_ends")} == {"spread_ends6"}


def test_what_wireguard_is_told() -> None:
    assert wireguard_configuration(OWN, [HIDDEN, SECOND], {"b": "10.211.55.2:6784"}).splitlines() == [
        "[Interface]",
        "PrivateKey = private",
        "ListenPort = 6784",
        "[Peer]",
        "PublicKey = public2",
        "AllowedIPs = 100.126.0.2/32",
        "Endpoint = 10.211.55.2:6784",
        "[Peer]",
        "PublicKey = public4",
        "AllowedIPs = 100.126.0.4/32",
    ]


def test_places_are_tried_in_turn_until_a_peer_is_heard() -> None:
    peers, tried, asked = [SECOND, THIRD, HIDDEN], dict[str, str](), []
    for _ in range(3):
        tried = places_to_try(peers, {}, tried)
        asked.append(tried["b"])
        assert tried["c"] == "[fd00::3]:6784" and "d" not in tried
    assert asked == ["10.211.55.2:6784", "10.9.9.2:6784", "10.211.55.2:6784"]
    assert places_to_try(peers, {"public2": 20, "public3": None}, tried) == {"c": "[fd00::3]:6784"}
    assert places_to_try([SECOND], {"public2": 181}, {"b": "10.1.1.1:1"}) == {"b": "10.211.55.2:6784"}


def test_what_babeld_is_told() -> None:
    told = babel_configuration(OWN, Path("/run/babel.sock"))
    rules = [line for line in told.splitlines() if line.startswith(("redistribute", "in "))]
    assert rules == [
        "redistribute local ip 100.127.0.1/32 eq 32 allow",
        "redistribute local ip fd6c::1/128 eq 128 allow",
        "redistribute local deny",
        "redistribute deny",
        "in ip 100.127.0.0/16 eq 32 allow",
        "in ip fd6c::/64 eq 128 allow",
        "in deny",
    ]
    assert "private" not in told
    assert "private" not in repr(dataclasses.replace(OWN, name="other"))
