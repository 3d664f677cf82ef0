"""Configuration networks, and what only a swarm has."""

from __future__ import annotations

import dataclasses

import pytest

from linkspan.engine.join import connect
from linkspan.engine.networks import create_network, remove_network
from linkspan.engine.request import NetworkRequest, with_defaults
from linkspan.errors import Conflict, Forbidden, InvalidArgument, LinkspanError, NotFound
from linkspan.ipam.pools import DEFAULT_SOURCES
from linkspan.model.container import EndpointSettings
from linkspan.model.network import Network, Pool

from .conftest import DRIVERS, HOST, World

MTU = "com.docker.network.driver.mtu"


def made(world: World, name: str, **asked: object) -> Network:
    (id_,) = world.ids(1)
    request = NetworkRequest(id=id_, created="", name=name, **asked)  # type: ignore[arg-type]
    change = create_network(world.now, request, DRIVERS, DEFAULT_SOURCES, HOST)
    assert [event.action for event in change.events] == ["create"]
    world.now = world.now.after(change.writes)
    return world.now.network(name)


def test_a_configuration_is_taken_by_others(world: World) -> None:
    pool = Pool(subnet="10.7.0.0/24", gateway="10.7.0.9")
    template = made(world, "template", config_only=True, pools=(pool,), options={MTU: "1400"}, labels={"a": "b"})
    assert (template.driver, template.scope, template.config_only) == ("null", "local", True)
    net = made(world, "net", config_from="template", internal=True)
    assert (net.driver, net.config_from, net.internal, net.config_only) == ("bridge", "template", True, False)
    assert (net.pools[0].subnet, net.pools[0].gateway, net.mtu, net.labels) == (
        "10.7.0.0/24",
        "10.7.0.9",
        1400,
        {"a": "b"},
    )
    with pytest.raises(Forbidden, match="Pool overlaps"):  # the second to take it has the first in its way, not before
        made(world, "again", config_from="template")
    with pytest.raises(InvalidArgument, match="cannot create endpoint on configuration-only network"):
        connect(world.now, world.container("web"), template, EndpointSettings(), world.around())
    with pytest.raises(Forbidden, match='configuration network "template" is in use'):
        remove_network(world.now, template)
    world.now = world.now.after(remove_network(world.now, net).writes)
    world.now = world.now.after(remove_network(world.now, template).writes)
    assert {n.name for n in world.now.networks.values()} == {"bridge", "host", "none"}


CONFIGURED = "user specified configurations are not supported if the network depends on a configuration network"
ONLY_SPECIFIC = "configuration network can only contain network specific fields"


@pytest.mark.parametrize(
    ("asked", "kind", "text"),
    [
        ({"config_only": True, "config_from": "x"}, Forbidden, "cannot depend on another configuration network"),
        ({"config_only": True, "internal": True}, Forbidden, ONLY_SPECIFIC),
        ({"config_only": True, "attachable": True}, Forbidden, ONLY_SPECIFIC),
        ({"config_only": True, "ingress": True}, Forbidden, ONLY_SPECIFIC),
        ({"config_only": True, "scope": "local"}, Forbidden, ONLY_SPECIFIC),
        ({"config_from": "nothing"}, NotFound, 'configuration network "nothing" does not exist'),
        ({"config_from": "bridge"}, NotFound, 'configuration network "bridge" does not exist'),
        ({"config_from": "x", "labels": {"a": "b"}}, Forbidden, CONFIGURED),
        ({"config_from": "x", "options": {MTU: "1400"}}, Forbidden, CONFIGURED),
        ({"config_from": "x", "pools": (Pool(subnet="10.1.0.0/24"),)}, Forbidden, CONFIGURED),
        ({"config_from": "x", "ipam_driver": "other"}, Forbidden, CONFIGURED),
        ({"ingress": True}, Forbidden, "Ingress network can only be global scope network"),
        ({"scope": "swarm"}, Forbidden, "cannot create a swarm scoped network when swarm is not active"),
        ({"scope": "galaxy"}, InvalidArgument, "invalid scope 'galaxy'"),
        ({"scope": "global"}, Forbidden, "cannot create a global scoped network when a cluster is not active"),
        ({"driver": "nonsense"}, NotFound, "plugin not found; the drivers here are bridge, .*macvlan"),
        ({"driver": "brigde"}, NotFound, "plugin not found; .*; did you mean bridge?"),
        ({"driver": "host"}, Forbidden, 'only one instance of "host" network is allowed'),
        ({"driver": "null"}, Forbidden, 'only one instance of "null" network is allowed'),
    ],
)
def test_refused(world: World, asked: dict[str, object], kind: type[LinkspanError], text: str) -> None:
    with pytest.raises(kind, match=text):
        made(world, "new", **asked)


def test_names(world: World) -> None:
    for name in ("bridge", "host", "none", "default"):
        with pytest.raises(Forbidden, match=f"operation is not permitted on predefined {name} network"):
            made(world, name)
    made(world, "own")
    with pytest.raises(Conflict, match="network with name own already exists"):
        made(world, "own")
    assert made(world, "a b: c").name == "a b: c"
    for name in (" a", "a ", "a/b", "-a", "a\nb", "x" * 300):
        with pytest.raises(InvalidArgument, match="invalid network name"):
            made(world, name)


def test_the_daemons_options_are_for_who_says_nothing() -> None:
    defaults = {MTU: "1400", "com.docker.network.enable_ipv6": "true"}
    request = NetworkRequest(name="n", options={"x": "y"})
    assert with_defaults(request, defaults).options == {**defaults, "x": "y"}
    assert with_defaults(dataclasses.replace(request, options={MTU: "1300"}), defaults).options[MTU] == "1300"
    stated = dataclasses.replace(request, stated=frozenset({6}))
    assert with_defaults(stated, defaults).options == {MTU: "1400", "x": "y"}
    assert with_defaults(dataclasses.replace(request, options={}, config_from="c"), defaults).options == {}
