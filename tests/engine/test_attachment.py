"""What a user asks of one attachment: what is refused, and what the interface gets."""

from __future__ import annotations

import re

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from linkspan.engine.attachment import (
    IFACE_PREFIX,
    IFNAME,
    SYSCTLS,
    check_interface_prefix,
    check_settings,
    interface_name,
    interface_sysctls,
    link_local_addresses,
)
from linkspan.engine.join import connect, disconnect, join
from linkspan.engine.networks import NetworkRequest, create_network
from linkspan.engine.render import render_all
from linkspan.errors import Conflict, InvalidArgument
from linkspan.ipam.pools import DEFAULT_SOURCES
from linkspan.model.container import EndpointIpamConfig, EndpointSettings
from linkspan.model.endpoint import Endpoint
from linkspan.model.network import Network, Pool
from linkspan.model.snapshot import put
from linkspan.state.objects import Address, Sysctl, Veth

from .conftest import DRIVERS, HOST, World

CHOSEN = Network(
    id="1", name="own", driver="bridge", created="", pools=(Pool(subnet="10.5.0.0/24"), Pool(subnet="fd05::/64"))
)
GIVEN_OUT = Network(
    id="2", name="auto", driver="bridge", created="", pools=(Pool(subnet="172.18.0.0/16", automatic=True),)
)
BRIDGE = Network(id="3", name="bridge", driver="bridge", created="", pools=(Pool(subnet="172.17.0.0/16"),))


def asked(v4: str = "", v6: str = "", local: tuple[str, ...] | None = None, **more: object) -> EndpointSettings:
    ipam = EndpointIpamConfig(ipv4_address=v4, ipv6_address=v6, link_local_ips=local)
    return EndpointSettings(ipam_config=ipam, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("network", "settings", "text"),
    [
        (BRIDGE, asked("172.17.0.9"), "user specified IP address is supported on user defined networks only"),
        (
            BRIDGE,
            asked(aliases=("db",)),
            "network-scoped alias is supported only for containers in user defined networks",
        ),
        (
            GIVEN_OUT,
            asked("172.18.0.9"),
            "user specified IP address is supported only when connecting to networks with user configured subnets",
        ),
        (CHOSEN, asked("10.6.0.9"), "no configured subnet or ip-range contain the IP address 10.6.0.9"),
        (CHOSEN, asked("nonsense"), "invalid IPv4 address: nonsense"),
        (CHOSEN, asked("0.0.0.0"), "invalid IPv4 address: 0.0.0.0"),
        (CHOSEN, asked("fd05::9"), "invalid IPv4 address: fd05::9"),
        (CHOSEN, asked(v6="10.5.0.9"), "invalid IPv6 address: 10.5.0.9"),
        (CHOSEN, asked(v6="fe80::1%eth0"), "invalid IPv6 address"),
        (CHOSEN, asked(local=("x",)), "invalid link-local IP address: x"),
        (CHOSEN, asked(local=("::",)), "invalid link-local IP address: ::"),
        (CHOSEN, asked(mac_address="zz"), "invalid MAC address: zz"),
        (CHOSEN, asked(links=("a:b:c",)), "bad format for links: a:b:c"),
        (CHOSEN, asked(driver_opts={IFNAME: "a/b"}), "invalid interface name 'a/b'"),
        (CHOSEN, asked(driver_opts={IFNAME: "x" * 16}), "invalid interface name"),
        (CHOSEN, asked(driver_opts={IFNAME: ""}), "invalid interface name ''"),
        (
            CHOSEN,
            asked(driver_opts={SYSCTLS: "net.ipv4.conf.eth0.x=1"}),
            "unrecognised network interface sysctl 'net.ipv4.conf.eth0.x=1'; represent 'net.X.Y.ethN.Z=V' as "
            "'net.X.Y.IFNAME.Z=V', 'X' must be 'ipv4', 'ipv6' or 'mpls'",
        ),
        (CHOSEN, asked(driver_opts={SYSCTLS: "net.core.conf.IFNAME.x=1"}), "'X' must be 'ipv4', 'ipv6' or 'mpls'"),
        (CHOSEN, asked(driver_opts={SYSCTLS: "net.ipv4.conf.IFNAME.x"}), "to have format name=value"),
        (CHOSEN, asked(driver_opts={SYSCTLS: "net.ipv4...IFNAME.x=1"}), "unrecognised network interface sysctl"),
        (CHOSEN, asked(driver_opts={SYSCTLS: "net.ipv4.conf.IFNAME.../../x=1"}), "to have format net.X.Y.IFNAME.Z"),
        (
            msgspec.structs.replace(CHOSEN, config_only=True),
            asked(),
            "cannot create endpoint on configuration-only network",
        ),
    ],
)
def test_refused(network: Network, settings: EndpointSettings, text: str) -> None:
    with pytest.raises(InvalidArgument, match="^invalid endpoint settings:\n.*" + re.escape(text)):
        check_settings(network.name, settings, network)


def test_everything_wrong_is_said_at_once() -> None:
    with pytest.raises(InvalidArgument) as refusal:
        check_settings("own", asked("x", "y", ("z",), mac_address="m"), CHOSEN)
    assert len(str(refusal.value).splitlines()) == 5


def test_accepted() -> None:
    options = {SYSCTLS: "net.ipv4.conf.IFNAME.log_martians=1,net.ipv6.conf.ifname.accept_ra=2", IFNAME: "front0"}
    settings = asked("10.5.0.9", "fd05::9", ("169.254.9.9", "fe80::9"), driver_opts=options, aliases=("db",))
    check_settings("own", settings, CHOSEN)
    assert interface_sysctls(settings, "front0") == (
        ("net/ipv4/conf/front0/log_martians", "1"),
        ("net/ipv6/conf/front0/accept_ra", "2"),
    )
    assert link_local_addresses(settings) == ("169.254.9.9/16", "fe80::9/64")
    assert interface_name(settings, CHOSEN, {"eth0"}) == "front0"
    with pytest.raises(Conflict, match="'front0' is already in use"):
        interface_name(settings, CHOSEN, {"front0"})


def test_ipv6_turned_off_is_no_ipv6_address(world: World) -> None:
    (id_,) = world.ids(1)
    pools = (Pool(subnet="10.5.0.0/24"), Pool(subnet="fd05::/64"))
    request = NetworkRequest(id=id_, created="", name="own", pools=pools, ipv6=True)
    world.now = world.now.after(create_network(world.now, request, DRIVERS, DEFAULT_SOURCES, HOST).writes)
    own = world.now.network("own")
    off = asked(driver_opts={SYSCTLS: "net.ipv6.conf.IFNAME.disable_ipv6=1"})
    for settings, sysctls, has in (
        (asked(), None, True),
        (off, None, False),
        (asked(), {"net.ipv6.conf.all.disable_ipv6": "1"}, False),
        (asked(), {"net.ipv6.conf.all.disable_ipv6": "0"}, True),
    ):
        made = world.container("web", "own", sysctls=sysctls)
        made = msgspec.structs.replace(made, networks={own.id: settings})
        (endpoint,) = [w.record for w in join(world.now, made, world.around()).writes if isinstance(w.record, Endpoint)]
        assert (bool(endpoint.address6), bool(endpoint.gateway6), bool(endpoint.address)) == (has, has, True)


def test_interfaces_are_numbered_by_prefix() -> None:
    named = msgspec.structs.replace(CHOSEN, options={IFACE_PREFIX: "net"})
    assert interface_name(asked(), named, {"eth0", "net0", "net2"}) == "net1"
    assert interface_name(asked(), CHOSEN, {"eth1"}) == "eth0"
    assert interface_name(asked(), CHOSEN, {"eth1"}, {"eth0", "wan0"}) == "eth2"
    check_interface_prefix("net")
    for wrong in ("a/b", "twelve-and-one", "a b"):
        with pytest.raises(InvalidArgument, match="container_iface_prefix"):
            check_interface_prefix(wrong)


@given(st.text(max_size=40), st.text(max_size=20), st.text(max_size=20))
def test_no_text_gets_out_of_the_settings_folder(sysctl: str, name: str, address: str) -> None:
    settings = asked(address, address, (address,), driver_opts={SYSCTLS: sysctl, IFNAME: name}, mac_address=address)
    try:
        check_settings("own", settings, CHOSEN)
    except InvalidArgument:
        return
    for path, _ in interface_sysctls(settings, name):
        assert len(path.split("/")) == 5 and ".." not in path


def test_sysctls_and_link_local_addresses_are_rendered_and_go_with_the_endpoint(world: World) -> None:
    (id_,) = world.ids(1)
    request = NetworkRequest(id=id_, created="", name="own", pools=(Pool(subnet="10.5.0.0/24"),))
    world.now = world.now.after(create_network(world.now, request, DRIVERS, DEFAULT_SOURCES, HOST).writes)
    made = world.container("web")
    world.now = world.now.after(join(world.now, made, world.around()).writes)
    before = render_all(world.now, DRIVERS, HOST)
    settings = asked(local=("169.254.9.9",), driver_opts={SYSCTLS: "net.ipv4.conf.IFNAME.log_martians=1"})
    own = world.now.network("own")
    world.now = world.now.after(connect(world.now, made, own, settings, world.around()).writes)
    rendered = set(render_all(world.now, DRIVERS, HOST).values())
    inside = next(o for o in rendered if isinstance(o, Veth) and o.peer == "eth1").namespace
    assert Sysctl(inside, "net/ipv4/conf/eth1/log_martians", "1") in rendered
    assert Address(inside, "eth1", "169.254.9.9/16") in rendered
    after = disconnect(world.now, world.now.containers[made.id], own)
    world.now = world.now.after((*after.writes, put(made)))
    assert render_all(world.now, DRIVERS, HOST) == before
