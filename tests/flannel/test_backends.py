"""Pods on three hosts reach each other by their own addresses, over each of the backends."""

from __future__ import annotations

import itertools

import pytest

from tests.flannel.field import OUTSIDE, Field, echoes, tcp, udp

BACKENDS = {
    "vxlan": ({"Type": "vxlan"}, 1450),
    "direct": ({"Type": "vxlan", "DirectRouting": True}, 1450),
    "host-gw": ({"Type": "host-gw"}, 1500),
    "udp": ({"Type": "udp"}, 1472),
}


@pytest.mark.parametrize("name", BACKENDS)
def test_who_reaches_whom(field: Field, name: str) -> None:
    backend, mtu = BACKENDS[name]
    field.configure(backend)
    field.start("--ip-masq")
    assert {node.settings["FLANNEL_MTU"] for node in field} == {str(mtu)}
    assert len({node.subnet for node in field}) == 3
    for one, other in itertools.permutations(field, 2):
        with echoes(other.pod_space, other.pod):
            # Under its own address, in packets that just fit, and in larger ones.
            assert udp(one.pod_space, other.pod, mtu, whole=True) == one.pod
            assert udp(one.pod_space, other.pod, mtu + 1, whole=True, tries=1) == ""
            assert udp(one.pod_space, other.pod, 4000) == one.pod
            assert tcp(one.pod_space, other.pod)
    one, other = field["h1"], field["h2"]
    with echoes(other.pod_space, other.pod):
        assert udp(one.space, other.pod).startswith("10.")  # the host itself
        assert tcp(one.space, other.pod, 5000)
    with echoes(other.space, other.address), echoes(field.there, OUTSIDE):
        assert udp(one.pod_space, other.address) == one.address  # masqueraded, as it leaves the network
        assert udp(one.pod_space, OUTSIDE) == one.address
        assert tcp(one.pod_space, OUTSIDE, 5000)
    with echoes(one.pod_space, one.pod):
        assert udp(one.space, one.pod, 100).startswith("10.5.")


def test_without_masquerading_a_pod_keeps_its_address(field: Field) -> None:
    field.configure({"Type": "host-gw"})
    field.start()
    one = field["h1"]
    assert one.settings["FLANNEL_IPMASQ"] == "false"
    field.outside.run(["ip", "route", "add", one.subnet, "via", one.address])
    try:
        with echoes(field.there, OUTSIDE):
            assert udp(one.pod_space, OUTSIDE) == one.pod
    finally:
        field.outside.run(["ip", "route", "del", one.subnet])


def test_what_is_in_the_kernel_is_flannel_s(field: Field) -> None:
    field.configure({"Type": "vxlan"})
    field.start(pods=False)
    one, other = field["h1"], field["h2"]
    (device,) = one.ip("-d", "link", "show", "flannel.1")
    data = device["linkinfo"]["info_data"]
    assert (data["id"], data["port"], data["local"]) == (1, 8472, one.address)
    assert data["learning"] is False and device["mtu"] == 1450
    (shown,) = one.ip("-4", "address", "show", "flannel.1")
    base = one.subnet.partition("/")[0]
    assert [(item["local"], item["prefixlen"]) for item in shown["addr_info"]] == [(base, 32)]
    (vtep,) = other.ip("link", "show", "flannel.1")
    assert field.value(other.subnet) == (
        f'{{"PublicIP":"{other.address}","PublicIPv6":null,"BackendType":"vxlan",'
        f'"BackendData":{{"VNI":1,"VtepMAC":"{vtep["address"]}"}}}}'
    )
    gateway = other.subnet.partition("/")[0]
    route = one.routes()[other.subnet]
    assert (route["gateway"], route["dev"], route["flags"]) == (gateway, "flannel.1", ["onlink"])
    neighbours = {item["dst"]: item for item in one.ip("neigh", "show", "dev", "flannel.1", "nud", "permanent")}
    assert neighbours[gateway]["lladdr"] == vtep["address"]
    rows = one.host.run(["bridge", "fdb", "show", "dev", "flannel.1"]).stdout
    assert f"{vtep['address']} dst {other.address} self permanent" in rows


def test_direct_routes_where_there_is_no_router_between(field: Field) -> None:
    field.configure({"Type": "vxlan", "DirectRouting": True})
    field.start(pods=False)
    one, other = field["h1"], field["h2"]
    route = one.routes()[other.subnet]
    assert (route["gateway"], route["dev"]) == (other.address, "eth0")
    # A host that is elsewhere is reached through the tunnel.
    far = (
        '{"PublicIP":"192.0.2.7","PublicIPv6":null,"BackendType":"vxlan",'
        '"BackendData":{"VNI":1,"VtepMAC":"02:00:00:00:00:07"}}'
    )
    key = f"{field.prefix}/subnets/10.5.250.0-24"
    field.etcd.ctl("put", key, far)
    field.settle()
    assert one.routes()["10.5.250.0/24"]["dev"] == "flannel.1"
    field.etcd.ctl("del", key)


def test_dual_stack(field: Field) -> None:
    for number, node in enumerate(field):
        node.host.run(["ip", "address", "add", f"fd00:64::{number + 1}/64", "dev", "eth0", "nodad"])
    field.configure({"Type": "vxlan"}, EnableIPv6=True, IPv6Network="fd00:5::/48")
    field.start(pods=False)
    one, other = field["h1"], field["h2"]
    ending = other.settings["FLANNEL_IPV6_SUBNET"].replace("1/64", "-64")
    (key,) = [key for key in field.leases() if key.endswith(ending)]
    assert "&fd00:5:0:" in key
    assert one.settings["FLANNEL_MTU"] == "1430"
    six = other.settings["FLANNEL_IPV6_SUBNET"].replace("::1/64", "::/64")
    (route,) = [item for item in one.ip("-6", "route") if item["dst"] == six]
    assert (route["dev"], route["gateway"]) == ("flannel-v6.1", six.partition("/")[0])
    own = other.ip("-6", "address", "show", "flannel-v6.1", "scope", "global")
    assert own[0]["addr_info"][0]["local"] == six.partition("/")[0]
    with echoes(other.space, six.partition("/")[0]):
        assert udp(one.space, six.partition("/")[0]) == one.settings["FLANNEL_IPV6_SUBNET"].replace("::1/64", "::")
    for number, node in enumerate(field):
        node.host.run(["ip", "address", "del", f"fd00:64::{number + 1}/64", "dev", "eth0"])
