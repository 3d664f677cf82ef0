"""The subnets that the hosts of a routed network have, each a part of the network's own."""

from __future__ import annotations

from linkspan.model.flannel import Lease
from linkspan.model.wire import Wire


class HostSubnet(Wire, frozen=True, kw_only=True):
    """A host's subnet, and how it is reached, as it was last heard of. `own` is this host's."""

    id: str  # network id/subnet
    network_id: str
    lease: Lease
    own: bool = False


def host_subnet_id(network_id: str, subnet: str) -> str:
    return f"{network_id}/{subnet}"
