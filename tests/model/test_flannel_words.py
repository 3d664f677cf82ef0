"""flannel's words, held against bytes that flanneld wrote (its documents and sources; it cannot be built here)."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linkspan.errors import InvalidArgument
from linkspan.model.flannel import (
    Backend,
    Lease,
    lease_key,
    lease_value,
    parse_config,
    parse_lease,
    previous_subnets,
    subnet_file,
)

VXLAN = (
    b'{"PublicIP":"192.168.64.3","PublicIPv6":null,"BackendType":"vxlan",'
    b'"BackendData":{"VNI":1,"VtepMAC":"c6:d2:32:6f:8f:44"}}'
)
HOST_GW = b'{"PublicIP":"10.37.7.195","PublicIPv6":null,"BackendType":"host-gw"}'
UDP = b'{"PublicIP":"10.37.7.195","PublicIPv6":null}'
DUAL = (
    b'{"PublicIP":"192.168.64.3","PublicIPv6":"fd00:64::3","BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":'
    b'"c6:d2:32:6f:8f:44"},"BackendV6Data":{"VNI":1,"VtepMAC":"c6:d2:32:6f:8f:45"}}'
)
LEASES = {
    ("10.5.52.0-24", VXLAN): Lease("10.5.52.0/24", "192.168.64.3", "", "", "vxlan", 1, "c6:d2:32:6f:8f:44"),
    ("10.5.1.0-24", HOST_GW): Lease("10.5.1.0/24", "10.37.7.195", backend="host-gw"),
    ("10.5.34.0-24", UDP): Lease("10.5.34.0/24", "10.37.7.195"),
    ("10.5.52.0-24&fd00:5:52::-64", DUAL): Lease(
        "10.5.52.0/24",
        "192.168.64.3",
        "fd00:5:52::/64",
        "fd00:64::3",
        "vxlan",
        1,
        "c6:d2:32:6f:8f:44",
        "c6:d2:32:6f:8f:45",
    ),
}


@pytest.mark.parametrize(("key", "value"), LEASES)
def test_a_lease_is_read_and_written_byte_for_byte(key: str, value: bytes) -> None:
    lease = LEASES[key, value]
    assert parse_lease(key, value) == lease
    assert (lease_key(lease), lease_value(lease)) == (key, value)


def test_a_lease_is_read_as_go_reads_it() -> None:
    loose = (
        b'{ "publicip": "10.0.0.1", "BackendType": "vxlan", "More": 1,'
        b' "BackendData": {"vni": 7, "vtepmac": "C6:D2:32:6F:8F:44", "x": []} }'
    )
    found = parse_lease("10.5.1.0-24", loose, reserved=True)
    assert (found.public_ip, found.vni, found.vtep, found.reserved) == ("10.0.0.1", 7, "c6:d2:32:6f:8f:44", True)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("10.5.1.0", UDP),
        ("10.5.1.7-24", UDP),
        ("10.5.1.0-33", UDP),
        ("10.5.1.0-24&fd00::-129", UDP),
        ("x10.5.1.0-24", UDP),
        ("10.5.1.0-24", b""),
        ("10.5.1.0-24", b"[]"),
        ("10.5.1.0-24", b"{}"),
        ("10.5.1.0-24", b'{"PublicIP":"10.0.0.300"}'),
        ("10.5.1.0-24", b'{"PublicIP":"10.0.0.3","PublicIPv6":7}'),
        ("10.5.1.0-24", b'{"PublicIP":"10.0.0.3","BackendType":"vxlan"}'),
        ("10.5.1.0-24", b'{"PublicIP":"10.0.0.3","BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"no"}}'),
        ("10.5.1.0-24", b'{"PublicIP":"10.0.0.3","BackendType":[]}'),
    ],
)
def test_a_lease_that_says_nothing_is_refused_by_its_key(key: str, value: bytes) -> None:
    with pytest.raises(InvalidArgument, match="flannel lease"):
        parse_lease(key, value)


@given(
    st.text(max_size=30),
    st.binary(max_size=60)
    | st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["PublicIP", "PublicIPv6", "BackendType", "BackendData", "VNI", "VtepMAC"]), inner
            )
        ),
        max_leaves=8,
    ).map(lambda value: json.dumps(value).encode()),
)
def test_whatever_somebody_wrote_there_only_our_errors_come_of_it(key: str, value: bytes) -> None:
    for name in (key, "10.5.1.0-24"):
        try:
            parse_lease(name, value)
        except InvalidArgument:
            continue


def test_what_a_configuration_leaves_out_is_as_flanneld_fills_it_in() -> None:
    found = parse_config('{"Network": "10.5.0.0/16"}')
    assert found.v4.length == 24 and (found.v4.first, found.v4.last) == ("10.5.1.0", "10.5.255.0")
    assert found.v6 is None and found.backend == Backend("udp") and found.backend.udp_port == 8285
    small = parse_config('{"Network": "10.5.0.0/26", "Backend": {"Type": "vxlan"}}')
    assert (small.v4.length, small.v4.first, small.v4.last) == (28, "10.5.0.16", "10.5.0.48")
    assert small.backend.udp_port == 8472 and small.backend.vni == 1


def test_a_configuration_in_full() -> None:
    found = parse_config(
        '{"Network": "10.0.0.0/8", "SubnetLen": 20, "SubnetMin": "10.10.0.0", "SubnetMax": "10.99.0.0",'
        ' "EnableIPv6": true, "IPv6Network": "fd00:5::/48", "EnableNFTables": true,'
        ' "Backend": {"Type": "vxlan", "VNI": 7, "Port": 4789, "DirectRouting": true, "MTU": 1400}}'
    )
    assert (found.v4.network, found.v4.length, found.v4.first, found.v4.last) == (
        "10.0.0.0/8",
        20,
        "10.10.0.0",
        "10.99.0.0",
    )
    assert found.v6 is not None and (found.v6.length, found.v6.first) == (64, "fd00:5:0:1::")
    assert found.backend == Backend("vxlan", 7, 4789, direct_routing=True, mtu=1400)
    assert found.v4.fits("10.10.16.0/20") and not found.v4.fits("10.10.16.0/24") and not found.v4.fits("10.9.0.0/20")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "not JSON"),
        ("[]", "no JSON object"),
        ("{}", "correct Network"),
        ('{"Network": "10.5.0.0/x"}', "correct Network"),
        ('{"Network": "fd00::/48"}', "correct Network"),
        ('{"Network": 5}', "no text"),
        ('{"Network": "10.5.0.0/29"}', "too small"),
        ('{"Network": "10.5.0.0/16", "SubnetLen": 31}', "less than /31"),
        ('{"Network": "10.5.0.0/16", "SubnetLen": 17}', "four subnets"),
        ('{"Network": "10.5.0.0/16", "SubnetLen": "24"}', "no number"),
        ('{"Network": "10.5.0.0/16", "SubnetMin": "10.6.0.0"}', "range of the Network"),
        ('{"Network": "10.5.0.0/16", "SubnetMin": "10.5.1.7"}', "boundary"),
        ('{"Network": "10.5.0.0/16", "SubnetMin": "x"}', "no address"),
        ('{"Network": "10.5.0.0/16", "SubnetMin": "10.5.9.0", "SubnetMax": "10.5.2.0"}', "behind"),
        ('{"Network": "10.5.0.0/16", "EnableIPv4": false}', "IPv6 alone"),
        ('{"Network": "10.5.0.0/16", "EnableIPv6": true}', "IPv6Network"),
        ('{"Network": "10.5.0.0/16", "EnableIPv6": "yes"}', "true nor false"),
        ('{"Network": "10.5.0.0/16", "Backend": "vxlan"}', "Backend"),
        ('{"Network": "10.5.0.0/16", "Backend": {"Type": "wireguard"}}', "not supported here"),
        ('{"Network": "10.5.0.0/16", "Backend": {"Type": "carrier-pigeon"}}', "unknown backend"),
        ('{"Network": "10.5.0.0/16", "Backend": {"Type": "vxlan", "VNI": 70000}}', "VNI"),
        ('{"Network": "10.5.0.0/16", "Backend": {"Type": "vxlan", "Port": 70000}}', "Port"),
    ],
)
def test_a_configuration_that_cannot_be_is_refused_with_what_is_wrong(text: str, says: str) -> None:
    with pytest.raises(InvalidArgument, match=says):
        parse_config(text)


def test_what_is_left_for_a_packet() -> None:
    assert [Backend(kind).inner_mtu(1500) for kind in ("vxlan", "host-gw", "udp", "alloc")] == [1450, 1500, 1472, 1500]
    assert Backend("vxlan").inner_mtu(1500, ipv6=True) == 1430
    assert Backend("vxlan", mtu=1300).inner_mtu(1500) == 1250
    assert Backend("vxlan", mtu=9000).inner_mtu(1500) == 1450


def test_subnet_env_is_flanneld_s() -> None:
    config = parse_config('{"Network": "10.5.0.0/16", "Backend": {"Type": "vxlan"}}')
    text = subnet_file(config, Lease("10.5.52.0/24", "192.168.64.3"), 1450, masquerade=True)
    assert text == ("FLANNEL_NETWORK=10.5.0.0/16\nFLANNEL_SUBNET=10.5.52.1/24\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n")
    assert previous_subnets(text) == ("10.5.52.0/24", "")
    dual = parse_config('{"Network": "10.5.0.0/16", "EnableIPv6": true, "IPv6Network": "fd00:5::/48"}')
    text = subnet_file(dual, Lease("10.5.52.0/24", "192.168.64.3", "fd00:5:0:52::/64"), 1450, masquerade=False)
    assert text == (
        "FLANNEL_NETWORK=10.5.0.0/16\nFLANNEL_SUBNET=10.5.52.1/24\n"
        "FLANNEL_IPV6_NETWORK=fd00:5::/48\nFLANNEL_IPV6_SUBNET=fd00:5:0:52::1/64\n"
        "FLANNEL_MTU=1450\nFLANNEL_IPMASQ=false\n"
    )
    assert previous_subnets(text) == ("10.5.52.0/24", "fd00:5:0:52::/64")


@given(st.text(max_size=80))
def test_somebody_else_s_subnet_env_is_none(text: str) -> None:
    assert all(isinstance(subnet, str) for subnet in previous_subnets(text + "\nFLANNEL_SUBNET=" + text))
