"""Calico's IPPool and IPReservation: how the addresses of a network are given out and reached, and which are not."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

import msgspec

from linkspan.model.network import Range
from linkspan.model.resource import Part, Resource

NEVER, ALWAYS, CROSS_SUBNET = "Never", "Always", "CrossSubnet"
MODES = (NEVER, ALWAYS, CROSS_SUBNET)
AUTOMATIC, MANUAL = "Automatic", "Manual"
WORKLOAD, TUNNEL = "Workload", "Tunnel"


class IpPoolSpec(Part, frozen=True, kw_only=True):
    cidr: str
    vxlan_mode: str = NEVER  # one of MODES; CrossSubnet is for hosts that are not on the same wire
    ipip_mode: str = NEVER
    nat_outgoing: bool = False  # what leaves for somewhere outside all pools has the host's address
    disabled: bool = False  # no new address is taken from it
    disable_bgp_export: bool = msgspec.field(default=False, name="disableBGPExport")
    block_size: int = 0  # a prefix length; 0 is the usual one
    assignment_mode: str = AUTOMATIC  # or MANUAL: only who asks for an address of it gets one
    node_selector: str = ""  # all(): every host takes addresses from it
    allowed_uses: tuple[str, ...] = ()  # WORKLOAD is among them


class IpPool(Resource, frozen=True, kw_only=True):
    """What holds for a network of the driver calico whose subnet this is."""

    spec: IpPoolSpec


class IpReservationSpec(Part, frozen=True, kw_only=True):
    reserved_cidrs: tuple[str, ...] = msgspec.field(default=(), name="reservedCIDRs")


class IpReservation(Resource, frozen=True, kw_only=True):
    """Addresses that no network gives out by itself. Whoever has one keeps it, and who asks for one gets it."""

    spec: IpReservationSpec = IpReservationSpec()

    def ranges(self, version: int) -> Iterator[Range]:
        """Those of an IP version."""
        for cidr in self.spec.reserved_cidrs:
            found = ipaddress.ip_network(cidr)
            if found.version == version:
                yield Range(first=str(found[0]), last=str(found[-1]))
