"""flannel: every host has a subnet of the network, and routes to everybody else's, through tunnels or plainly.

`render_part` is what this host makes of it whoever else there is, `render_way` what another host's lease adds. Both
serve `linkspan flannel`, where the containers are a Docker's, and the driver, whose bridge is the bridge driver's own.
"""

from __future__ import annotations

import dataclasses
import ipaddress
from collections.abc import Iterable, Iterator

from linkspan.model.flannel import FlannelConfig, Lease, base_address
from linkspan.state.host import Underlay
from linkspan.state.objects import (
    HOST,
    Address,
    FdbEntry,
    KernelObject,
    Neighbour,
    NftElement,
    Route,
    Sysctl,
    Vxlan,
)


@dataclasses.dataclass(frozen=True, slots=True)
class Part:
    """What a host has of a flannel network. `owner` is the network's id; `on_link` are the subnets that `underlay`'s
    interface is on, in which other hosts are reached without a router."""

    owner: str
    config: FlannelConfig
    own: Lease
    underlay: Underlay
    on_link: tuple[str, ...] = ()
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
            yield Route(HOST, subnet, part.underlay.interface, public_ip)
        elif not plain:
            device, gateway = f"flannel{mark}.{part.config.backend.vni}", base_address(subnet)
            yield Neighbour(device, gateway, vtep)
            yield FdbEntry(device, vtep, public_ip)
            yield Route(HOST, subnet, device, gateway, onlink=True)


def off_link(part: Part, leases: Iterable[Lease]) -> tuple[Lease, ...]:
    """The leases that host-gw has no way to, as a router is between the hosts."""
    if part.config.backend.type != "host-gw":
        return ()
    return tuple(lease for lease in leases if not _on_link(part, lease.public_ip))


def _tunnel_end(part: Part, mark: str, subnet: str, local: str, mac: str) -> Iterator[KernelObject]:
    backend = part.config.backend
    name = f"flannel{mark}.{backend.vni}"
    yield Vxlan(name, f"linkspan:{part.owner}", backend.vni, local, backend.udp_port, part.mtu, mac)
    # What the host itself sends through the tunnel has this source. By itself it is no route for anything else.
    length = 128 if mark else 32
    yield Address(HOST, name, f"{base_address(subnet)}/{length}")


def _versions(part: Part) -> Iterator[tuple[str, str, str]]:
    """For each IP version: the mark of the firewall's sets, the whole network, and this host's subnet."""
    yield "", part.config.v4.network, part.own.subnet
    if part.config.v6 and part.own.subnet6:
        yield "6", part.config.v6.network, part.own.subnet6


def _on_link(part: Part, address: str) -> bool:
    found = ipaddress.ip_address(address)
    return any(found in ipaddress.ip_network(prefix, strict=False) for prefix in part.on_link)
