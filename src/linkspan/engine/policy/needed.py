"""Which networks' endpoints a host has to know of for the policies that there are, beside those that it is on."""

from __future__ import annotations

from linkspan.model.cluster import GLOBAL
from linkspan.model.selector import NAMESPACE, And, Equal, Selector
from linkspan.model.snapshot import Snapshot


def needed_networks(snapshot: Snapshot) -> set[str]:
    """Ids. Where a rule selects beyond its own network, all of the cluster: on networks that routes lead between, any
    endpoint of any of them may be the other end, under its own address."""
    if all(map(_of_one_network, snapshot.selections.used)):
        return set()
    return {id_ for id_, network in snapshot.networks.items() if network.scope == GLOBAL}


def _of_one_network(selector: Selector) -> bool:
    parts = selector.parts if isinstance(selector, And) else (selector,)
    return any(isinstance(part, Equal) and part.label == NAMESPACE for part in parts)
