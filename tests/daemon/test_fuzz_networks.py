"""The network endpoints, and interfaces given by hand, from the request's bytes down to a fake kernel: whatever is
sent, only our own kinds of error come out, and what was refused has changed nothing."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from linkspan.api.http import Request, Response
from linkspan.api.routes import Api
from linkspan.daemon.dhcp import DhcpClients
from linkspan.daemon.events import Events
from linkspan.daemon.ledger import Ledger
from linkspan.daemon.lifecycle import Lifecycle
from linkspan.daemon.mutation import Mutation
from linkspan.daemon.networks import Networks
from linkspan.daemon.plugs import Plugs
from linkspan.daemon.programmer import Programmer
from linkspan.daemon.reconcile import converge
from linkspan.engine.join import join
from linkspan.engine.render import render_all
from linkspan.ipam.pools import DEFAULT_SOURCES
from linkspan.kernel.contract import Interface
from linkspan.kernel.fake import FakeKernel
from linkspan.model.snapshot import put
from linkspan.state.objects import State, Sysctl
from linkspan.store.memory import MemoryStore
from tests.engine.conftest import DRIVERS, HOST, World

REFS = ("bridge", "host", "none", "own", "other", "template", "nothing", "", "x" * 300, "../..", "0")
CONTAINERS = ("web", "still", "in-host", "peer", "nobody", "")


class Inside:
    """What the routes need of a daemon, with a running container, one that does not run, one in the host's namespace
    and one in another's."""

    def __init__(self) -> None:
        store, events, world = MemoryStore(), Events(), World()
        cards = [Interface(i, f"eth{i}", "", f"02:00:00:00:00:0{i}", 1500, True, False) for i in (0, 1)]
        self.programmer = Programmer(lambda: FakeKernel(host=cards))
        store.commit([put(network) for network in world.now.networks.values()])
        self.ledger = Ledger(store)
        mutation = Mutation(self.ledger, self.programmer, DRIVERS, events, lambda *_: None)
        lifecycle = Lifecycle(
            self.ledger,
            mutation,
            None,  # type: ignore[arg-type]  # nothing is started here
            events,
            drivers=DRIVERS,
            host=lambda: HOST,
        )

        async def look_again() -> None:
            return None

        self.networks = Networks(
            self.ledger,
            mutation,
            self.programmer,
            lifecycle,
            drivers=DRIVERS,
            sources=DEFAULT_SOURCES,
            options={},
            publish=events.publish,
            host=lambda: HOST,
            look_again=look_again,
        )
        dhcp = DhcpClients(self.ledger, mutation, lifecycle, Path("/nowhere"))
        self.plugs = Plugs(self.ledger, mutation, lifecycle, dhcp, host=lambda: HOST, look_again=look_again)
        web = world.container("web", ports={"80/tcp": "8080"})
        for made in (web, world.container("still"), world.container("in-host", "host")):
            self.ledger.commit([put(made)])
        self.ledger.commit([put(world.container("peer", f"container:{web.id}"))])
        self.ledger.commit(join(self.ledger.now, web, world.around()).writes)

    async def converge(self) -> None:
        await converge(self.ledger, self.programmer, DRIVERS, lambda: HOST)

    async def kernel(self) -> State:
        return await self.programmer.run(lambda kernel: without_settings(kernel.state))  # type: ignore[attr-defined]


def without_settings(state: State) -> State:
    """Sysctls are written and never taken back."""
    return {key: item for key, item in state.items() if not isinstance(item, Sysctl)}


class Whole:
    def __init__(self, data: bytes) -> None:
        self._data = data

    async def read(self) -> bytes:
        return self._data

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self._data


addresses = st.sampled_from(
    ("", "10.5.0.9", "10.5.0.1", "10.5.0.0", "fd05::9", "::", "0.0.0.0", "300.1.1.1", "fe80::1%eth0", "x")
) | st.text(max_size=12)
subnets = st.sampled_from(
    ("", "10.5.0.0/24", "10.5.0.7/24", "172.17.0.0/16", "0.0.0.0/0", "0.0.0.0/24", "10.6.0.0/32", "10.6.0.0/31",
     "fd05::/64", "fd06::/128", "::/0", "10.5.0.0", "10.5.0.0/99", "x/24")
) | st.text(max_size=12)  # fmt: skip
options = st.dictionaries(
    st.sampled_from(
        ("com.docker.network.bridge.name", "com.docker.network.bridge.enable_icc", "com.docker.network.driver.mtu",
         "com.docker.network.bridge.gateway_mode_ipv4", "com.docker.network.bridge.host_binding_ipv4",
         "com.docker.network.container_iface_prefix", "com.docker.network.enable_ipv6",
         "com.docker.network.endpoint.ifname", "com.docker.network.endpoint.sysctls", "parent", "macvlan_mode", "x")
    ),
    st.sampled_from(("", "true", "0", "br9", "x" * 20, "1400", "a/b", "net.ipv4.conf.IFNAME.x=1", "routed", "eth0"))
    | st.text(max_size=20),
    max_size=3,
)  # fmt: skip
pools = st.fixed_dictionaries(
    {"Subnet": subnets},
    optional={
        "Gateway": addresses,
        "IPRange": subnets,
        "AuxiliaryAddresses": st.dictionaries(st.text(max_size=5), addresses, max_size=2),
    },
)
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
booleans = st.booleans() | st.none()
created = st.fixed_dictionaries(
    {"Name": st.sampled_from(("own", "other", "template", "bridge", "", "x" * 300, "a b")) | st.text(max_size=5)},
    optional={
        "Driver": st.sampled_from(("", "bridge", "host", "null", "overlay", "macvlan", "nonsense")),
        "IPAM": st.fixed_dictionaries({"Config": st.lists(pools, max_size=3)})
        | st.fixed_dictionaries({"Driver": st.sampled_from(("default", "null", "x")), "Options": options}),
        "Options": options,
        "Internal": booleans,
        "Attachable": booleans,
        "Ingress": booleans,
        "EnableIPv4": booleans,
        "EnableIPv6": booleans,
        "ConfigOnly": booleans,
        "ConfigFrom": st.fixed_dictionaries({"Network": st.sampled_from(("", "template", "own", "nothing"))}),
        "Scope": st.sampled_from(("", "local", "swarm", "x")),
        "Labels": st.dictionaries(st.text(max_size=3), st.text(max_size=3), max_size=2),
        "Extra": anything,
    },
)
endpoint = st.fixed_dictionaries(
    {},
    optional={
        "IPAMConfig": st.none()
        | st.fixed_dictionaries(
            {}, optional={"IPv4Address": addresses, "IPv6Address": addresses, "LinkLocalIPs": st.lists(addresses)}
        ),
        "Aliases": st.lists(st.text(max_size=5), max_size=2) | st.none(),
        "Links": st.lists(st.sampled_from(("web:x", "web", ":", "a:b:c")) | st.text(max_size=5), max_size=2),
        "MacAddress": st.sampled_from(("", "02:00:00:00:00:01", "ff:ff:ff:ff:ff:ff", "zz")) | st.text(max_size=5),
        "DriverOpts": options,
        "GwPriority": st.integers(-5, 5) | st.integers(),
    },
)
connected = st.fixed_dictionaries(
    {"Container": st.sampled_from(CONTAINERS)}, optional={"EndpointConfig": endpoint | st.none()}
)
disconnected = st.fixed_dictionaries(
    {"Container": st.sampled_from(CONTAINERS)}, optional={"Force": st.booleans() | st.none()}
)
refs = st.sampled_from(REFS)
filters = st.one_of(
    st.dictionaries(
        st.sampled_from(("dangling", "driver", "id", "label", "label!", "name", "scope", "type", "until", "x")),
        st.lists(st.sampled_from(("true", "custom", "bridge", "a=b", "1h", "(", "", "2020-01-01")), max_size=2),
        max_size=2,
    ),
    anything,
).map(json.dumps)


def call(method: str, path: str, body: Any = None, **query: str) -> tuple[str, str, Any, dict[str, list[str]]]:
    return method, path, body, {key: [value] for key, value in query.items()}


plugged = st.fixed_dictionaries(
    {"HostInterface": st.sampled_from(("br7", "eth0", "eth1", "br-x", "dummy0", "mac:02:00:00:00:00:01", "lo", ""))},
    optional={
        "Interface": st.sampled_from(("eth0", "eth1", "eth2", "lo", "x" * 16, "a/b")),
        "HostEnd": st.sampled_from(("end1", "eth0", "docker0", "")),
        "Address": st.sampled_from(("10.5.0.9/24", "172.17.0.9/16", "172.17.0.2/16", "fd05::9/64", "10.5.0.9"))
        | subnets,
        "Gateway": addresses,
        "MacAddress": st.sampled_from(("", "U:x", "02:00:00:00:00:01", "zz")),
        "Vlan": st.sampled_from(("", "7", "4095", "x")),
        "Family": st.sampled_from(("", "4", "6", "x")),
        "Direct": booleans,
        "Mtu": st.sampled_from((0, 1400, 10**9)),
        "Dhcp": st.fixed_dictionaries({"Client": st.just("nobody")}),
        "Extra": anything,
    },
)
interfaces = st.sampled_from(CONTAINERS[:-1]).map(lambda name: f"/containers/{name}/interfaces")
calls = st.one_of(
    st.builds(lambda path, body: call("POST", path, body), interfaces, plugged),
    st.builds(lambda path, name: call("DELETE", f"{path}/{name}"), interfaces, st.sampled_from(("eth1", "eth2", "x"))),
    st.builds(lambda path, body: call("POST", path, body), interfaces, anything),
    created.map(lambda body: call("POST", "/networks/create", body)),
    st.builds(lambda ref, body: call("POST", f"/networks/{ref}/connect", body), refs, connected),
    st.builds(lambda ref, body: call("POST", f"/networks/{ref}/disconnect", body), refs, disconnected),
    st.builds(lambda ref, scope: call("GET", f"/networks/{ref}", scope=scope), refs, st.sampled_from(("", "local"))),
    refs.map(lambda ref: call("DELETE", f"/networks/{ref}")),
    filters.map(lambda text: call("GET", "/networks", filters=text)),
    filters.map(lambda text: call("POST", "/networks/prune", filters=text)),
    st.builds(
        lambda path, body: call("POST", path, body),
        st.sampled_from(("/networks/create", "/networks/own/connect", "/networks/own/disconnect")),
        anything,
    ),
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(calls, min_size=1, max_size=12))
def test_whatever_is_sent(made: list[tuple[str, str, Any, dict[str, list[str]]]]) -> None:
    inside = Inside()

    async def steps() -> None:
        await inside.converge()
        api = Api(inside)  # type: ignore[arg-type]
        for method, path, body, query in made:
            before = inside.ledger.now
            data = b"" if body is None else json.dumps(body).encode()
            answer = await api(Request(method, path, query, {"content-type": "application/json"}, Whole(data)))
            assert isinstance(answer, Response)
            assert answer.status < 500, (method, path, body, answer.body)
            if answer.status >= 400:
                assert json.loads(answer.body)["message"]
                assert inside.ledger.now == before, (method, path, body, answer.body)
        assert await inside.kernel() == without_settings(render_all(inside.ledger.now, DRIVERS, HOST))

    try:
        asyncio.run(steps())
    finally:
        inside.programmer.close()
