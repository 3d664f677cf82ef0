"""The default networks, as the daemon's flags change from start to start."""

from __future__ import annotations

import dataclasses

import msgspec
import pytest

from linkspan.engine.bridges import DefaultBridge
from linkspan.engine.change import Change
from linkspan.engine.join import join, leave
from linkspan.engine.networks import NetworkRequest, create_network, default_networks
from linkspan.engine.render import render_all
from linkspan.errors import Forbidden
from linkspan.ipam.pools import DEFAULT_SOURCES
from linkspan.model.container import Container, State
from linkspan.model.snapshot import put
from linkspan.state.objects import Address, Bridge, Namespace, Veth

from .conftest import DRIVERS, HOST, World

NONE = DefaultBridge(disabled=True)
OTHER = DefaultBridge(bip="10.1.0.1/16", icc=False, mtu=1400)


def started_with(world: World, flags: DefaultBridge) -> Change:
    """The daemon starts with other flags."""
    change = default_networks(world.now, flags, DEFAULT_SOURCES, HOST, world.ids(3), "")
    world.now = world.now.after(change.writes)
    return change


def started(world: World, container: Container) -> None:
    world.now = world.now.after(join(world.now, container, world.around()).writes)
    world.run(container)


def ended(world: World, container: Container) -> None:
    current = world.now.containers[container.id]
    world.now = world.now.after([put(msgspec.structs.replace(current, state=State(status="exited")))])
    world.now = world.now.after(leave(world.now, world.now.containers[container.id]).writes)


def test_a_default_bridge_that_nobody_names_goes_and_comes(world: World) -> None:
    assert started_with(world, NONE).warnings == ()
    assert {n.name for n in world.now.networks.values()} == {"host", "none"}
    assert started_with(world, NONE).writes == ()
    with pytest.raises(Forbidden, match="operation is not permitted on predefined bridge network"):
        asked = NetworkRequest(id="1", created="", name="bridge")
        create_network(world.now, asked, DRIVERS, DEFAULT_SOURCES, HOST)
    started_with(world, DefaultBridge())
    assert world.now.network("bridge").bridge == "docker0"


def test_a_default_bridge_that_containers_name_becomes_one_without_interface_and_a_bridge_again(world: World) -> None:
    web = world.container("web", ports={"80/tcp": "8080"})
    before = world.now.network("bridge")
    started_with(world, NONE)
    without = world.now.network("bridge")
    assert (without.id, without.name, without.driver, without.pools, without.bridge) == (
        *(before.id, "bridge", "null"),
        *((), ""),
    )
    started(world, web)
    rendered = render_all(world.now, DRIVERS, HOST).values()
    assert not [o for o in rendered if isinstance(o, (Bridge, Veth, Address))]
    assert len([o for o in rendered if isinstance(o, Namespace)]) == 1
    sandbox = world.now.sandbox(web)
    assert sandbox and sandbox.kind == "none"
    # Its sandbox is empty, and stays so until it is started anew.
    change = started_with(world, DefaultBridge())
    assert change.writes == () and "(web): stop them and restart linkspand" in change.warnings[0]
    ended(world, web)
    started_with(world, DefaultBridge())
    assert world.now.network("bridge") == before
    started(world, web)
    (endpoint,) = world.now.endpoints_in(web)
    assert endpoint.address == "172.17.0.2" and endpoint.bindings


@pytest.mark.parametrize("flags", [NONE, OTHER])
def test_a_default_bridge_with_running_containers_stays_as_it_is(world: World, flags: DefaultBridge) -> None:
    web = world.container("web")
    started(world, web)
    peer = world.container("peer", f"container:{web.id}")
    started(world, peer)
    before = world.now
    change = started_with(world, flags)
    assert world.now == before
    (warning,) = change.warnings
    assert warning.endswith("(peer, web): stop them and restart linkspand")
    assert render_all(world.now, DRIVERS, HOST)
    ended(world, web)  # who shares its sandbox keeps it
    assert started_with(world, flags).warnings[0].endswith("(peer): stop them and restart linkspand")


def test_new_flags_take_effect_once_nobody_runs(world: World) -> None:
    web = world.container("web")
    started(world, web)
    id_ = world.now.network("bridge").id
    ended(world, web)
    assert started_with(world, OTHER).warnings == ()
    bridge = world.now.network("bridge")
    assert (bridge.id, bridge.pools[0].gateway, bridge.icc, bridge.mtu) == (id_, "10.1.0.1", False, 1400)
    assert started_with(world, dataclasses.replace(OTHER)).writes == ()
