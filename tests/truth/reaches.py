"""Who reaches what: the isolation of bridge networks, as a function that is meant to be read.

It holds for TCP and UDP, and for IPv4 and IPv6, alike. The differences from Docker are in docs/guide/isolation.md.
"""

from __future__ import annotations

import dataclasses
from typing import Literal


@dataclasses.dataclass(frozen=True)
class Net:
    """A bridge network. `mode` is its gateway mode, of both IP versions."""

    mode: Literal["nat", "nat-unprotected", "routed", "isolated"]
    internal: bool
    icc: bool

    @property
    def name(self) -> str:
        return f"{self.mode}{'-internal' if self.internal else ''}{'' if self.icc else '-noicc'}"


NETWORKS = tuple(
    Net(mode, internal, icc)
    for mode in ("nat", "nat-unprotected", "routed", "isolated")
    for internal in (False, True)
    for icc in (True, False)
    if internal or mode != "isolated"
)

# Where a connection comes from: a neighbour of the host, the host itself, or a container on a network.
Source = Literal["outside", "host"] | Net

# Where it goes to. The container there publishes its port 80 at a port of the host, and does not publish its port 81.
Destination = Literal[
    "the host's address, published port",
    "the host's loopback address, published port",
    "the gateway's address, published port",
    "the container's address, published port",
    "the container's address, unpublished port",
]
DESTINATIONS: tuple[Destination, ...] = Destination.__args__  # type: ignore[attr-defined]


def reaches(source: Source, there: Net, destination: Destination, *, br_netfilter: bool) -> bool:
    """Whether a connection from `source` to a container on the network `there` comes about.

    `br_netfilter` is whether the host's kernel shows bridged packets to its IP firewall (the sysctl
    net.bridge.bridge-nf-call-iptables).
    """
    if destination.startswith("the container's address"):
        return _reaches_container(source, there, published=destination.endswith(", published port"))
    return _reaches_published_port(source, there, destination, br_netfilter=br_netfilter)


def _reaches_published_port(source: Source, there: Net, destination: Destination, *, br_netfilter: bool) -> bool:
    # An internal network publishes nothing, and a routed one opens its containers' ports instead of the host's.
    if there.internal or there.mode == "routed":
        return False
    # The loopback address is the host's alone.
    if destination == "the host's loopback address, published port":
        return source == "host"
    # A neighbour on the same network reaches it too, also where it may not talk to it directly: through the host. With
    # br_netfilter the kernel does not route such a packet but bridges it, and there the two are kept apart.
    if source == there and not there.icc and br_netfilter:
        return False
    # Containers on an internal network have no way to the host's addresses, but for their own gateway's. Everybody
    # else reaches what is published.
    return not (isinstance(source, Net) and source.internal)


def _reaches_container(source: Source, there: Net, *, published: bool) -> bool:
    # Within a network containers talk freely, at any port, unless icc=false.
    if source == there:
        return there.icc
    # The host reaches its containers, unless it has no address on their network.
    if source == "host":
        return there.mode != "isolated"
    # Nobody gets out of an internal network, nor into it.
    if there.internal or (isinstance(source, Net) and source.internal):
        return False
    # From outside and from other networks, the gateway mode decides.
    match there.mode:
        case "nat":
            return False
        case "nat-unprotected":
            return True
        case "routed":
            return published
        case _:
            raise AssertionError(there)
