"""What a host announces, to whom, and what it takes: as values, and as text that the programs themselves judge."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from linkspan.engine.bgp.bird import bird_conf
from linkspan.engine.bgp.frr import frr_conf
from linkspan.engine.bgp.gobgp import gobgp_conf
from linkspan.engine.bgp.neighbours import Neighbour
from linkspan.engine.bgp.plan import Plan, plan
from linkspan.engine.bgp.resources import REFLECTOR
from linkspan.model.bgp import SecretKey
from linkspan.model.ippool import IpPool, IpPoolSpec
from linkspan.model.resource import Metadata
from linkspan.model.snapshot import Record, drop, put
from tests.bgp.records import (
    NETWORK,
    POOL,
    block,
    configuration,
    endpoint,
    filter_,
    host,
    peer,
    planned,
    remote,
    snapshot,
)

RACK = "10.211.55.9"
JUDGES = {
    "bird": (bird_conf, ("/usr/sbin/bird", "-p", "-c")),
    "frr": (frr_conf, ("/usr/bin/vtysh", "-C", "-f")),
    "gobgp": (gobgp_conf, ("/usr/bin/gobgpd", "-t", "toml", "-d", "-f")),
}


def judged(name: str, plan: Plan, folder: Path) -> None:
    """AssertionError with the program's word where it does not take what is written for it."""
    render, command = JUDGES[name]
    if shutil.which(command[0]) is None:
        pytest.skip(f"no {command[0]} here: make test installs it")
    path = folder / name
    path.write_text(render(plan))
    done = subprocess.run([*command, path], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0 and "nknown command" not in done.stdout, f"{done.stdout}{done.stderr}\n{render(plan)}"


def session(found: Plan, said: str, version: int = 4) -> Neighbour:
    return next(n for n in found.neighbours if n.said == said and n.version == version)


def test_every_host_is_every_others_peer_and_announces_its_blocks() -> None:
    found = planned("h1")
    assert [(n.said, n.address, n.as_number) for n in found.neighbours] == [
        ("host h2", "10.211.55.5", 64512),
        ("host h2", "fd55::5", 64512),
        ("host h3", "10.211.55.6", 64512),
        ("host h3", "fd55::6", 64512),
    ]
    assert found.announced.blocks == ("10.65.1.0/26", "fd65::100/122") and not found.announced.lone
    assert (found.router_id, found.problems) == ("10.211.55.4", ())


def test_nobody_needs_it() -> None:
    own = host("h1")
    now = snapshot("h1")
    assert plan(now.after([drop(NETWORK)]), own, {}) is None
    tunnelled = msgspec.structs.replace(NETWORK, encapsulation="vxlan")
    assert plan(snapshot("h1", network=tunnelled), own, {}) is None
    # A router outside is told of it all the same.
    rack = peer("rack", peerIP=RACK, asNumber=65001)
    found = plan(snapshot("h1", rack, network=tunnelled), own, {})
    assert found and found.needed and not found.pools[0].routed and session(found, "rack").kind == "router"
    wrong = peer("rack", peerIP=RACK, asNumber=65001, filters=("none",))
    found = plan(snapshot("h1", wrong, network=tunnelled), own, {})
    assert found and not found.needed and found.problems


def test_addresses_outside_the_own_blocks_are_announced_one_by_one() -> None:
    found = planned("h1", endpoint("10.65.1.7"), endpoint("10.65.2.7"), endpoint("10.65.9.1"))
    assert found.announced.lone == ("10.65.2.7/32", "10.65.9.1/32")


def test_what_of_the_own_blocks_is_elsewhere_is_taken() -> None:
    found = planned("h1", remote("h2", "10.65.1.9"), remote("h3", "10.65.3.1"), remote("h3", "10.65.2.5"))
    assert found.announced.elsewhere == ("10.65.1.9/32",)
    assert "function elsewhere4() { return net ~ [ 10.65.1.9/32 ]; }" in bird_conf(found)


def test_what_hides_a_block_is_refused_up_to_its_pool() -> None:
    assert "10.65.1.0/26+, 10.65.1.0/26{16,26}" in bird_conf(planned("h1"))


def test_numbers_ports_and_passwords_of_the_hosts() -> None:
    said = configuration(asNumber=65010, listenPort=1179, nodeMeshPassword={"value": "s3cret"})
    own = configuration("node.h2", asNumber=65012)
    found = planned("h1", said, own)
    assert (found.as_number, found.port) == (65010, 1179)
    assert {(n.said, n.as_number, n.port, n.password) for n in found.neighbours} == {
        ("host h2", 65012, 1179, "s3cret"),
        ("host h3", 65010, 1179, "s3cret"),
    }


def test_a_secret_of_the_hosts() -> None:
    rack = peer("rack", peerIP=RACK, asNumber=65001, password={"secretKeyRef": {"name": "rack", "key": "md5"}})
    missing = planned("h1", rack)
    assert missing.problems == ("BGPPeer rack: this host has no secret rack/md5",)
    assert all(n.kind == "host" for n in missing.neighbours)  # never without its password
    found = planned("h1", rack, secrets={SecretKey(name="rack", key="md5"): "x"})
    assert session(found, "rack").password == "x"
    bad = planned("h1", rack, secrets={SecretKey(name="rack", key="md5"): 'a"b'})
    assert "printable ASCII" in bad.problems[0] and 'a"b' not in bad.problems[0]


def test_route_reflectors_by_label() -> None:
    resources: tuple[Record, ...] = (
        configuration(nodeToNodeMeshEnabled=False),
        peer("reflectors", nodeSelector="all()", peerSelector="role == 'reflector'"),
    )
    labels = {"role": "reflector", REFLECTOR: "1.0.0.1"}
    now = snapshot("h2", *resources, labels={"h1": labels})
    client = plan(now, host("h2"), {})
    assert client and [n.said for n in client.neighbours] == ["host h1", "host h1"]
    assert not any(n.client for n in client.neighbours) and not client.cluster_id
    reflector = planned("h1", *resources, labels=labels)
    assert reflector.cluster_id == "1.0.0.1" and all(n.client for n in reflector.neighbours)
    assert {n.said for n in reflector.neighbours} == {"host h2", "host h3"}
    text = bird_conf(reflector)
    assert "rr client; rr cluster id 1.0.0.1;" in text and "source != RTS_BGP then reject;" in text


def test_who_a_peer_is_for() -> None:
    for fields, wanted in (
        ({"node": "h1"}, True),
        ({"node": "h2"}, False),
        ({"nodeSelector": "rack == 'a'"}, True),
        ({"nodeSelector": "rack == 'b'"}, False),
        ({"nodeSelector": "kubernetes.io/hostname == 'h1'"}, True),
    ):
        found = planned("h1", peer("rack", peerIP=RACK, asNumber=65001, **fields), labels={"rack": "a"})
        assert any(n.kind == "router" for n in found.neighbours) == wanted, fields


def test_a_pool_that_stays_inside() -> None:
    inside = IpPool(metadata=Metadata(name="inside"), spec=IpPoolSpec(cidr=POOL, disable_bgp_export=True))
    text = bird_conf(planned("h1", peer("rack", peerIP=RACK, asNumber=65001), inside))
    assert "function exported4() { return false; }" in text and "if !exported4() then reject;" in text
    assert "function exported6() { return net ~ [ fd65::/64+ ]; }" in text


def test_what_cannot_be_is_said() -> None:
    absent = planned("h1", peer("rack", peerIP=RACK, asNumber=65001, filters=("none",)))
    assert absent.problems == ("BGPPeer rack: there is no BGPFilter none",)
    itself = planned("h1", peer("rack", peerIP="10.211.55.4", asNumber=65001))
    assert itself.problems == ("BGPPeer rack: 10.211.55.4 is this host itself",)
    without = plan(snapshot("h1"), host("h1", address6=""), {})
    assert without and "its IPv6 addresses are not reached" in without.problems[0]


RICH: tuple[Record, ...] = (
    configuration(
        asNumber=64513,
        communities=[{"name": "a", "value": "64513:1"}],
        prefixAdvertisements=[
            {"cidr": "10.65.0.0/16", "communities": ["a", "64513:2:3"]},
            {"cidr": "fd65::/64", "communities": ["a"]},
        ],
        nodeMeshPassword={"value": "x"},
    ),
    peer("rack", peerIP=RACK, asNumber=65001, password={"value": "m-d_5"}, ttlSecurity=1, filters=("f",)),
    peer("six", peerIP="[fd55::9]:1790", asNumber=64513, numAllowedLocalASNumbers=1, sourceAddress="None"),
    peer("kept", peerIP="10.211.55.10", asNumber=65002, keepOriginalNextHop=True),
    filter_(
        "f",
        exportV4=[
            {"action": "Accept", "cidr": "10.0.0.0/8", "matchOperator": "In", "prefixLength": {"min": 24, "max": 28}},
            {"action": "Reject"},
        ],
        importV4=[
            {"action": "Accept", "cidr": "0.0.0.0/0", "matchOperator": "Equal"},
            {"action": "Reject", "cidr": "10.9.0.0/16", "matchOperator": "NotIn"},
        ],
        importV6=[{"action": "Reject", "cidr": "fd09::/64", "matchOperator": "NotEqual"}],
    ),
    endpoint("10.65.9.1"),
    remote("h2", "10.65.1.9"),
)


@pytest.mark.parametrize("judge", JUDGES)
def test_each_takes_what_is_written_for_it(judge: str, tmp_path: Path) -> None:
    judged(judge, planned("h1"), tmp_path)
    judged(judge, planned("h1", *RICH), tmp_path)
    judged(judge, planned("h1", *RICH, labels={REFLECTOR: "1.0.0.1"}), tmp_path)
    nothing = snapshot("h1").after([drop(b) for b in snapshot("h1").blocks.values()])
    found = plan(nothing, host("h1"), {})
    assert found
    judged(judge, found, tmp_path)


def test_communities_are_those_of_our_own() -> None:
    text = bird_conf(planned("h1", *RICH, labels={REFLECTOR: "1.0.0.1"}))
    assert (
        'if proto = "own4" && net ~ [ 10.65.0.0/16+ ] then '
        "{ bgp_community.add((64513,1)); bgp_large_community.add((64513,2,3)); }"
    ) in text


NUMBERS = st.integers(1, 250)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    mine=st.sets(NUMBERS, max_size=6),
    lone=st.sets(NUMBERS, max_size=4),
    away=st.sets(NUMBERS, max_size=4),
    reflects=st.booleans(),
    tunnelled=st.booleans(),
)
def test_bird_takes_whatever_follows_from_records(
    tmp_path: Path, mine: set[int], lone: set[int], away: set[int], reflects: bool, tunnelled: bool
) -> None:
    network = msgspec.structs.replace(NETWORK, encapsulation="vxlan") if tunnelled else NETWORK
    records = [block("h1", f"10.65.{n}.64/26") for n in mine]
    addresses = [endpoint(f"10.65.{n}.130") for n in lone]
    elsewhere = [remote("h2", f"10.65.{n}.65") for n in away]
    labels = {REFLECTOR: ""} if reflects else {}
    now = snapshot("h1", *records, *addresses, *elsewhere, *RICH, network=network)
    found = plan(now, host("h1", labels), {})
    assert found
    own = set(found.announced.blocks) | set(found.announced.lone)
    assert {f"10.65.{n}.64/26" for n in mine} <= own and {f"10.65.{n}.130/32" for n in lone} <= own
    assert {f"10.65.{n}.65/32" for n in away & mine} <= set(found.announced.elsewhere)
    judged("bird", found, tmp_path)
    # The order in which the records came says nothing.
    assert plan(now.after([put(r) for r in reversed(records)]), host("h1", labels), {}) == found
