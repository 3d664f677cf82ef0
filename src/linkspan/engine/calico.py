"""calico networks: what their options mean, and what they need of the hosts."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping, Sequence

import msgspec

from linkspan.drivers.calico import IPIP, around
from linkspan.engine import bridges, keeping
from linkspan.engine.bgp.plan import check_routing
from linkspan.engine.scope import free_vni
from linkspan.errors import InvalidArgument, Unsupported
from linkspan.model.network import ENCAPSULATIONS, Network, Pool
from linkspan.model.snapshot import Snapshot
from linkspan.state.host import HostFacts

OPTIONS = frozenset(
    {
        "encapsulation",
        "nat_outgoing",
        "blocksize",
        "mtu",
        *keeping.OPTIONS,
        "com.docker.network.enable_ipv4",
        "com.docker.network.enable_ipv6",
        "com.docker.network.bridge.host_binding_ipv4",
        bridges.INTERNAL,
    }
)
_SIZES = {4: (20, 32), 6: (116, 128)}  # calico's


def on_routes(snapshot: Snapshot, network: Network, host: HostFacts) -> Network:
    """The network with what its options say.

    Raises InvalidArgument, Unsupported (an encapsulation that this host cannot have).
    """
    options = network.options
    how = options.get("encapsulation") or "vxlan"
    if how not in ENCAPSULATIONS:
        raise InvalidArgument(f"invalid value for encapsulation: {how!r}: use {', '.join(ENCAPSULATIONS)}")
    if how.startswith("ipip"):
        if not host.ipip:
            raise Unsupported(
                f"encapsulation={how}: the running kernel lacks IP-in-IP links (module ipip): use vxlan, or load it"
            )
        if network.ipv6:
            raise InvalidArgument(f"encapsulation={how} carries IPv4 alone: use vxlan for IPv6")
    if how == "never":
        check_routing(host)
    elif network.ipv4 and host.underlay and not host.underlay.address:
        raise Unsupported(
            f"encapsulation={how} carries IPv4 between IPv4 addresses of the hosts, and this host has none for the "
            "others: give linkspand one with --advertise, or make the network with --ipv4=false --ipv6"
        )
    mtu = options.get("mtu") or options.get(bridges.MTU)
    resolved = bridges.with_options(
        msgspec.structs.replace(network, options={**options, bridges.MTU: mtu or str(_mtu(snapshot, how, host))})
    )
    return keeping.with_identities(
        msgspec.structs.replace(
            resolved,
            options=options,
            bridge="",
            encapsulation=how,
            parent=IPIP if how.startswith("ipip") else "",
            masquerade=bridges.flag(options, "nat_outgoing", default=True),
            vni=free_vni(snapshot) if how.startswith("vxlan") else 0,
        )
    )


def with_blocks(network: Network) -> Network:
    """With the size of the blocks that its pools are given out in. Raises InvalidArgument."""
    if given := [pool.gateway for pool in network.pools if pool.gateway]:
        raise InvalidArgument(
            f"gateway {given[0]}: a calico network has none: containers send everything to their host, at 169.254.1.1"
        )
    sizes = _block_sizes(network.options, network.versions)
    return msgspec.structs.replace(network, pools=tuple(_cut(pool, sizes) for pool in network.pools))


def _cut(pool: Pool, sizes: Mapping[int, int]) -> Pool:
    size = sizes.get(pool.version, 0)
    window = ipaddress.ip_network(pool.ip_range or pool.subnet)
    if size and size < window.prefixlen:
        raise InvalidArgument(f"invalid value for blocksize: a block of /{size} is larger than {window}")
    return msgspec.structs.replace(pool, block=size)


def _block_sizes(options: Mapping[str, str], versions: Sequence[int]) -> dict[int, int]:
    """`26`, `122`, `26,122`: by IP version."""
    return dict(_sizes(options.get("blocksize", ""), versions))


def _sizes(text: str, versions: Sequence[int]) -> Iterator[tuple[int, int]]:
    for part in filter(None, text.split(",")):
        size = int(part) if part.isdecimal() else -1
        version = next((v for v in versions if _SIZES[v][0] <= size <= _SIZES[v][1]), None)
        if version is None:
            ranges = " or ".join(f"{_SIZES[v][0]} to {_SIZES[v][1]} for IPv{v}" for v in versions)
            raise InvalidArgument(f"invalid value for blocksize: {part!r}: use {ranges}")
        yield version, size


def _mtu(snapshot: Snapshot, how: str, host: HostFacts) -> int:
    """What fits into a packet between any two hosts that are in the cluster now."""
    if host.underlay is None:
        return 1500
    least = min((host.underlay.mtu, *(other.mtu for other in snapshot.hosts.values())))
    return least - around(how, host.underlay.address or host.underlay.address6)
