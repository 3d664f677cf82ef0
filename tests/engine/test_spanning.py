"""What other hosts need here: the part that a change touches is that part of the whole, in whatever order it comes."""

from __future__ import annotations

from collections.abc import Iterator

from hypothesis import given
from hypothesis import strategies as st

from linkspan.drivers.bridge import BridgeDriver
from linkspan.drivers.calico import CalicoDriver
from linkspan.drivers.ovs import OvsDriver
from linkspan.drivers.weave import WeaveDriver
from linkspan.engine.render import render_all, render_touched, touched
from linkspan.model.cluster import GLOBAL, LOCAL, Block, Host, Remote, block_id
from linkspan.model.endpoint import Endpoint, Sandbox
from linkspan.model.network import Network, Pool
from linkspan.model.snapshot import Snapshot, Write, drop, put
from linkspan.state.host import HostFacts, Underlay
from linkspan.state.objects import EVERYBODY, HOST, FdbEntry, KernelObject, Route
from linkspan.state.switch import SwitchFacts


class Tying(BridgeDriver):
    """A driver with something for each other host, and for each endpoint there."""

    name = "tying"
    spans = True

    def render_host(self, network: Network, host: Host) -> Iterator[KernelObject]:
        yield Route(HOST, f"host {host.id} {network.id}", network.bridge, host.address)

    def render_remote(self, network: Network, remote: Remote, host: Host) -> Iterator[KernelObject]:
        yield Route(HOST, f"remote {remote.address} {network.id}", network.bridge, f"{remote.id} at {host.address}")
        yield Route(HOST, f"remote {remote.mac} {network.id}", network.bridge, f"{remote.id} at {host.address}")


SWITCHES = OvsDriver(Underlay("eth0", "10.0.0.8"), SwitchFacts("", "netdev"))
ROUTES = CalicoDriver(underlay=SWITCHES.underlay, host_id="here")
FLOODED = WeaveDriver(underlay=SWITCHES.underlay)
DRIVERS = {"tying": Tying(), "bridge": BridgeDriver(), "ovs": SWITCHES, "calico": ROUTES, "weave": FLOODED}
FACTS = HostFacts(namespaces="/run/netns")
few = st.sampled_from("abc")
networks = st.builds(
    lambda id_, driver, scope, how: Network(
        id=id_ * 12,
        name=id_,
        driver=driver,
        created="",
        bridge=f"br-{id_}",
        scope=scope,
        pools=(Pool(subnet=POOL[id_], block=31),),
        vni=ord(id_),
        encapsulation=how if driver == "calico" else "",
        parent="ls-ipip" if driver == "calico" and how == "ipip" else "",
    ),
    few,
    st.sampled_from(["tying", "bridge", "ovs", "calico", "weave"]),
    st.sampled_from([LOCAL, GLOBAL]),
    st.sampled_from(["vxlan", "ipip", "never"]),
)
addresses = st.sampled_from(["10.0.0.1", "10.0.0.2"])
POOL = {"a": "10.0.0.0/29", "b": "10.0.0.8/29", "c": "10.0.0.16/29"}
blocks = st.builds(
    lambda network, part, host: Block(
        id=block_id(network * 12, f"10.0.0.{'abc'.index(network) * 8 + part}/31"),
        network_id=network * 12,
        subnet=f"10.0.0.{'abc'.index(network) * 8 + part}/31",
        host_id=host,
    ),
    few,
    st.sampled_from([0, 2]),
    st.sampled_from(["a", "b", "here"]),
)
records = st.one_of(
    networks,
    blocks,
    # An address is one host's alone.
    st.builds(lambda id_, part: Host(id=id_, name=id_, address=f"10.0.{part}.{ord(id_)}"), few, st.integers(1, 2)),
    st.builds(
        lambda id_, network, host, address, mac: Remote(
            id=id_, network_id=network * 12, host_id=host, container_id=id_, name=id_, address=address, mac=mac
        ),
        few,
        few,
        few,
        addresses,
        st.sampled_from("mn"),
    ),
    st.builds(
        lambda id_: Endpoint(
            id=id_ * 12, network_id=id_ * 12, sandbox_id="s", container_id="c", host_interface=f"veth{id_}"
        ),
        few,
    ),
)


@given(st.lists(st.lists(st.one_of(records.map(put), records.map(drop)), max_size=4), max_size=8))
def test_a_change_touches_that_part_of_the_whole(steps: list[list[Write]]) -> None:
    now = Snapshot().after([put(Sandbox(id="s", container_id="c", kind="own", path="/s"))])
    for step in steps:
        before, now = now, now.after(step)
        for endpoint in list(now.endpoints.values()):  # as the engine has it: no endpoint without its network
            if endpoint.network_id not in now.networks:
                step = [*step, drop(endpoint)]
                now = now.after([drop(endpoint)])
        parts = touched(before, now, step)
        whole = dict(render_all(before, DRIVERS, FACTS))
        for key in render_touched(before, parts, DRIVERS):
            del whole[key]
        whole |= render_touched(now, parts, DRIVERS)
        assert whole == render_all(now, DRIVERS, FACTS)


def test_nothing_is_there_before_somebody_here_is_on_the_network() -> None:
    network = Network(id="a" * 12, name="a", driver="tying", created="", bridge="br-a")
    host = Host(id="h", name="h", address="10.0.0.9")
    remote = Remote(
        id="r", network_id=network.id, host_id="h", container_id="c", name="db", address="10.1.0.2", mac="m"
    )
    sandbox = Sandbox(id="s", container_id="c", kind="own", path="/s")
    endpoint = Endpoint(id="e" * 12, network_id=network.id, sandbox_id="s", container_id="c", host_interface="veth1")
    alone = Snapshot().after(map(put, (network, host, remote, sandbox)))
    assert not [o for o in render_all(alone, DRIVERS, FACTS).values() if isinstance(o, Route)]
    joined = alone.after([put(endpoint)])
    routes = [o for o in render_all(joined, DRIVERS, FACTS).values() if isinstance(o, Route)]
    assert routes == [
        Route(HOST, f"host h {network.id}", "br-a", "10.0.0.9"),
        Route(HOST, f"remote 10.1.0.2 {network.id}", "br-a", "r at 10.0.0.9"),
        Route(HOST, f"remote m {network.id}", "br-a", "r at 10.0.0.9"),
    ]


def test_what_is_for_everybody_goes_to_hosts_with_somebody_on_the_network() -> None:
    """For as long as there is one, however many there are."""
    network = Network(id="a" * 12, name="a", driver="weave", created="", bridge="br-a", scope=GLOBAL, vni=5000)
    hosts = [Host(id=id_, name=id_, address=f"10.0.0.{number}") for number, id_ in enumerate("xyz", 1)]
    sandbox = Sandbox(id="s", container_id="c", kind="own", path="/s")
    endpoint = Endpoint(id="e" * 12, network_id=network.id, sandbox_id="s", container_id="c", host_interface="veth1")
    now = Snapshot().after(map(put, (network, *hosts, sandbox, endpoint)))

    def copies() -> list[str]:
        rendered = render_all(now, DRIVERS, FACTS).values()
        return sorted(o.destination for o in rendered if isinstance(o, FdbEntry) and o.mac == EVERYBODY)

    assert copies() == []
    remotes = [
        Remote(id=id_, network_id=network.id, host_id=host, container_id=id_, name=id_, address=address, mac=id_)
        for id_, host, address in (("1", "x", "10.1.0.1"), ("2", "x", "10.1.0.2"), ("3", "z", "10.1.0.3"))
    ]
    now = now.after(map(put, remotes))
    assert copies() == ["10.0.0.1", "10.0.0.3"]
    now = now.after([drop(remotes[0])])
    assert copies() == ["10.0.0.1", "10.0.0.3"]
    now = now.after([drop(remotes[1])])
    assert copies() == ["10.0.0.3"]
