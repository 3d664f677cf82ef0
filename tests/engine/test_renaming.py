"""A network's interface, by the cluster's name and by this host's."""

from __future__ import annotations

import msgspec
import pytest

from linkspan.engine.renaming import named_for_all, named_here
from linkspan.errors import InvalidArgument
from linkspan.model.cluster import Host
from linkspan.model.network import Network

INTERFACES = {"eth0": "ens5", "seg": "br0"}


def network(parent: str, path: str = "", bridge: str = "", *, managed: bool = True, scope: str = "global") -> Network:
    return Network(
        id="n",
        name="lan",
        driver="flat",
        created="",
        scope=scope,
        parent=parent,
        path=path,
        bridge=bridge,
        managed=managed,
    )


@pytest.mark.parametrize(
    ("there", "here"),
    [
        (network("eth0", "bridge", "fl-eth0"), ("ens5", "fl-ens5")),
        (network("seg", "bridge", "seg", managed=False), ("br0", "br0")),
        (network("eth0", "routed"), ("ens5", "")),
        (network("eth0", "macvlan"), ("ens5", "")),
        (network("eth0.10"), ("ens5.10", "")),
        (network("eth1", "bridge", "fl-eth1"), ("eth1", "fl-eth1")),
        (network("eth0", scope="local"), ("eth0", "")),
    ],
)
def test_a_network_is_named_as_here_and_back(there: Network, here: tuple[str, str]) -> None:
    mine = named_here(there, INTERFACES)
    assert isinstance(mine, Network)
    assert (mine.parent, mine.bridge) == here
    assert msgspec.structs.replace(mine, parent=there.parent, bridge=there.bridge) == there
    assert there.scope == "local" or named_for_all(mine, INTERFACES) == there


def test_what_is_no_network_stays() -> None:
    host = Host(id="h", name="eth0")
    assert named_here(host, INTERFACES) is host


def test_an_interface_whose_name_is_anothers_in_the_cluster() -> None:
    with pytest.raises(
        InvalidArgument, match=r"network lan: what the cluster's networks call eth0 is ens5 on this host"
    ):
        named_for_all(network("eth0", "bridge", "fl-eth0"), INTERFACES)
    assert named_for_all(network("eth0", scope="local"), INTERFACES).parent == "eth0"
    swapped = {"eth0": "eth1", "eth1": "eth0"}
    assert named_for_all(network("eth0"), swapped).parent == "eth1"
