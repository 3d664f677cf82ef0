"""Networks of a cluster whose interface has another name on this host.

A network's record names the interface that it stands on (`parent`), as the host that made it calls it. A host that
calls it otherwise says so (--cluster-interface NAME=HERE), reads the records with its own name, and writes them with
the cluster's. What users typed stays in the options.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from linkspan.engine.flat import flat_bridge
from linkspan.errors import InvalidArgument
from linkspan.model.cluster import GLOBAL
from linkspan.model.network import Network
from linkspan.model.snapshot import Record


def named_here(record: Record, interfaces: Mapping[str, str]) -> Record:
    """A record of the cluster's, as this host has it. `interfaces` are its own by the cluster's names."""
    return _renamed(record, interfaces) if isinstance(record, Network) else record


def named_for_all(network: Network, interfaces: Mapping[str, str]) -> Network:
    """A network of this host's, as the cluster has it. Raises InvalidArgument where its interface has a name here that
    is another one's in the cluster."""
    base = network.parent.partition(".")[0]
    if network.scope == GLOBAL and base in interfaces and base not in interfaces.values():
        raise InvalidArgument(
            f"network {network.name}: what the cluster's networks call {base} is {interfaces[base]} on this host "
            f"(--cluster-interface): {base} itself cannot be the parent of one"
        )
    return _renamed(network, {here: name for name, here in interfaces.items()})


def _renamed(network: Network, names: Mapping[str, str]) -> Network:
    """With the VLAN of the interface (eth0.10), if it is one's."""
    base, dot, vlan = network.parent.partition(".")
    if network.scope != GLOBAL or base not in names:
        return network
    parent = f"{names[base]}{dot}{vlan}"
    bridge = network.bridge
    if network.path == "bridge":
        bridge = flat_bridge(parent) if network.managed else parent
    return msgspec.structs.replace(network, parent=parent, bridge=bridge)
