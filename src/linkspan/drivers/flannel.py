"""flannel: every host has a subnet of the network, and routes to everybody else's, through tunnels or plainly.

`render_part` is what this host makes of it whoever else there is, `render_way` what another host's lease adds. Both
serve `linkspan flannel`, where the containers are a Docker's, and the driver, whose bridge is the bridge driver's own.
"""

from __future__ import annotations

import dataclasses
import functools
import ipaddress
from collections.abc import Iterable, Iterator

import msgspec

from linkspan.drivers.bridge import BridgeDriver
from linkspan.drivers.publish import Host as HostSettings
from linkspan.model.cluster import LOCAL
from linkspan.model.flannel import FlannelConfig, Lease, base_address, parse_config
from linkspan.model.network import Network, Pool
from linkspan.model.subnet import HostSubnet
from linkspan.state.host import Underlay
from linkspan.state.objects import HOST, Address, FdbEntry, KernelObject, Neighbour, NftElement, Route, Sysctl, Vxlan

CONFIG = "flannel.config"  # the option of a network that holds its configuration, as etcd has it
MTU = "com.docker.network.driver.mtu"
# Of the routes to other hosts. Where a bridge of this host still has a subnet that was lost to another one, its own
# route goes first, and nothing is in the way.
METRIC = 512


@dataclasses.dataclass(frozen=True, slots=True)
class Part:
    """What a host has of a flannel network. `owner` is the network's id."""

    owner: str
    config: FlannelConfig
    own: Lease
    underlay: Underlay
    masquerade: bool = True

    @property
    def mtu(self) -> int:
        """Of what the containers send."""
        return self.config.backend.inner_mtu(self.underlay.mtu, ipv6=self.config.v6 is not None)


def render_part(part: Part) -> Iterator[KernelObject]:
    """The host's own end, and what the firewall has to know."""
    if part.config.backend.type == "vxlan":
        yield from _tunnel_end(part, "", part.own.subnet, part.underlay.address, part.own.vtep)
        if part.own.subnet6:
            yield from _tunnel_end(part, "-v6", part.own.subnet6, part.underlay.address6, part.own.vtep6)
    if part.own.subnet6:
        yield Sysctl(HOST, "net/ipv6/conf/all/forwarding", "1")
    owner = part.owner[:12]
    for mark, network, subnet in _versions(part):
        yield NftElement(f"spread{mark}", network, comment=owner)
        yield NftElement(f"spread_here{mark}", subnet, comment=owner)
        if part.masquerade:
            yield NftElement(f"spread_masqueraded{mark}", network, comment=owner)


def render_way(part: Part, lease: Lease) -> Iterator[KernelObject]:
    """The way to another host's subnets; nothing where there is none (`off_link`), and where a process has it (udp)."""
    if part.config.backend.type not in ("vxlan", "host-gw"):
        return
    plain = part.config.backend.type == "host-gw"
    direct = plain or part.config.backend.direct_routing
    for mark, subnet, public_ip, vtep in (
        ("", lease.subnet, lease.public_ip, lease.vtep),
        ("-v6", lease.subnet6, lease.public_ip6, lease.vtep6),
    ):
        if not subnet or not public_ip or (mark and not part.own.subnet6):
            continue
        if direct and _on_link(part, public_ip):
            yield Route(HOST, subnet, part.underlay.interface, public_ip, metric=METRIC)
        elif not plain:
            device, gateway = f"flannel{mark}.{part.config.backend.vni}", base_address(subnet)
            yield Neighbour(device, gateway, vtep)
            yield FdbEntry(device, vtep, public_ip)
            yield Route(HOST, subnet, device, gateway, onlink=True, metric=METRIC)


def off_link(part: Part, leases: Iterable[Lease]) -> tuple[Lease, ...]:
    """The leases that host-gw has no way to, as a router is between the hosts."""
    if part.config.backend.type != "host-gw":
        return ()
    return tuple(lease for lease in leases if not _on_link(part, lease.public_ip))


class FlannelDriver(BridgeDriver):
    """The bridge of a network is as the bridge driver makes it, with the host's subnet; its containers' packets to
    other hosts are routed."""

    name = "flannel"
    spans = True
    needs_cluster = True

    def __init__(self, host: HostSettings | None = None, underlay: Underlay | None = None) -> None:
        super().__init__(host)
        self.underlay = underlay

    def part(self, network: Network, own: HostSubnet) -> Part | None:
        """None while this host is in no cluster."""
        if self.underlay is None:
            return None
        config = _config(network.options[CONFIG])
        return Part(network.id, config, own.lease, self.underlay, network.masquerade)

    def at_home(self, network: Network, own: HostSubnet) -> Network:
        lease, part = own.lease, self.part(network, own)
        pools = [Pool(subnet=lease.subnet, gateway=lease.gateway)]
        if lease.subnet6:
            pools.append(Pool(subnet=lease.subnet6, gateway=lease.gateway6))
        mtu = part.mtu if part and MTU not in network.options else network.mtu
        # What leaves is masqueraded in flannel's order, which knows the whole network. Nobody else has these addresses.
        return msgspec.structs.replace(
            network, pools=tuple(pools), mtu=mtu, masquerade=False, scope=LOCAL, strict_blocks=False
        )

    def render_part(self, network: Network, own: HostSubnet) -> Iterator[KernelObject]:
        part = self.part(network, own)
        if part is None:
            return
        owner, tunnel = network.id[:12], _tunnel(part)
        yield from self._filtered(render_part(part))
        if tunnel:
            yield from self._filtered([NftElement("spread_tunnels", tunnel, "", owner)])
        for mark, whole, _ in _versions(part) if network.icc else ():
            yield from self._filtered([NftElement(f"spread_to{mark}", f'"{network.bridge}" . {whole}', "", owner)])

    def render_subnet(self, network: Network, own: HostSubnet, other: HostSubnet) -> Iterator[KernelObject]:
        part, lease = self.part(network, own), other.lease
        if part is None:
            return
        yield from render_way(part, lease)
        backend, tunnel, owner = part.config.backend, _tunnel(part), network.id[:12]
        for mark, address in (("", lease.public_ip), ("6", lease.public_ip6 if own.lease.subnet6 else "")):
            if not address:
                continue
            if tunnel:
                yield from self._filtered([NftElement(f"spread_ends{mark}", f"{tunnel} . {address}", "", owner)])
            if network.icc and (backend.type == "host-gw" or backend.direct_routing):
                # Without a tunnel, what comes from the other host itself has the host's address.
                own_way = NftElement(f"spread_to{mark}", f'"{network.bridge}" . {address}', "", owner)
                yield from self._filtered([own_way])

    def _filtered(self, objects: Iterable[KernelObject]) -> Iterator[KernelObject]:
        """Without the firewall's, for an IP version of which the administrator sees to that (--iptables=false)."""
        for item in objects:
            if not isinstance(item, NftElement) or (6 if item.set.endswith("6") else 4) in self.host.rules:
                yield item


@functools.lru_cache(maxsize=64)
def _config(text: str) -> FlannelConfig:
    """Asked for with each host's part and each endpoint."""
    return parse_config(text)


def _tunnel_end(part: Part, mark: str, subnet: str, local: str, mac: str) -> Iterator[KernelObject]:
    backend = part.config.backend
    name = f"flannel{mark}.{backend.vni}"
    yield Vxlan(name, f"linkspan:{part.owner}", backend.vni, local, backend.udp_port, part.mtu, mac)
    # What the host itself sends through the tunnel has this source. By itself it is no route for anything else.
    length = 128 if mark else 32
    yield Address(HOST, name, f"{base_address(subnet)}/{length}")


def _tunnel(part: Part) -> str:
    """A tunnel as the firewall knows it, by port and number; "" where there is none."""
    backend = part.config.backend
    return f"{backend.udp_port} . {backend.vni}" if backend.type == "vxlan" else ""


def _versions(part: Part) -> Iterator[tuple[str, str, str]]:
    """For each IP version: the mark of the firewall's sets, the whole network, and this host's subnet."""
    yield "", part.config.v4.network, part.own.subnet
    if part.config.v6 and part.own.subnet6:
        yield "6", part.config.v6.network, part.own.subnet6


def _on_link(part: Part, address: str) -> bool:
    found = ipaddress.ip_address(address)
    return any(found in ipaddress.ip_network(prefix, strict=False) for prefix in part.underlay.on_link)
