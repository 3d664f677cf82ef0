"""weave: one segment over many hosts, as overlay has it, that carries everything a wire does.

Frames for many (multicast, broadcast) and those to a MAC that no record tells of go to each host that has a container
on the network, one copy each; and containers ask each other for their addresses, and announce those that move. In a
mesh the tunnels end at the hosts' addresses there: what is between the hosts is encrypted, and goes through others
where two do not reach each other.
"""

from __future__ import annotations

from collections.abc import Iterator

from linkspan.drivers.overlay import OverlayDriver, tunnel
from linkspan.model.cluster import Host
from linkspan.model.network import Network
from linkspan.state.objects import EVERYBODY, FdbEntry, KernelObject


class WeaveDriver(OverlayDriver):
    name = "weave"
    floods = True

    def render_presence(self, network: Network, host: Host) -> Iterator[KernelObject]:
        if place := self.place(host):
            yield FdbEntry(tunnel(network), EVERYBODY, place)
