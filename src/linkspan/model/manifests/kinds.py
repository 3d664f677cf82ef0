"""The kinds of resources that there are here."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import msgspec

from linkspan.errors import InvalidArgument
from linkspan.model.bgp import (
    BgpConfiguration,
    BgpConfigurationSpec,
    BgpFilter,
    BgpFilterSpec,
    BgpPeer,
    BgpPeerSpec,
)
from linkspan.model.ippool import IpPool, IpPoolSpec, IpReservation, IpReservationSpec
from linkspan.model.manifests import check
from linkspan.model.policy import (
    HostEndpoint,
    HostEndpointSpec,
    NetworkSet,
    NetworkSetSpec,
    Policy,
    PolicySpec,
    Tier,
    TierSpec,
)
from linkspan.model.resource import Metadata, Resource


@dataclasses.dataclass(frozen=True, slots=True)
class Kind:
    """`checked` takes a spec as it was written, and answers it in the one form that records have."""

    name: str
    record: type[Resource]
    spec: type[msgspec.Struct]
    checked: Callable[[Any, Metadata], Any]
    short: tuple[str, ...] = ()
    of_network: bool = False  # metadata.namespace is the name of a network

    @property
    def plural(self) -> str:
        return f"{self.name[:-1]}ies" if self.name.endswith("y") else f"{self.name}s"


KINDS = (
    Kind(
        "GlobalNetworkPolicy",
        Policy,
        PolicySpec,
        lambda spec, metadata: check.policy(spec, of_network=False),
        ("gnp",),
    ),
    Kind(
        "NetworkPolicy",
        Policy,
        PolicySpec,
        lambda spec, metadata: check.policy(spec, of_network=True),
        ("np",),
        of_network=True,
    ),
    Kind("Tier", Tier, TierSpec, lambda spec, metadata: check.tier(spec, metadata.name)),
    Kind("GlobalNetworkSet", NetworkSet, NetworkSetSpec, check.network_set, ("gns",)),
    Kind("HostEndpoint", HostEndpoint, HostEndpointSpec, lambda spec, metadata: check.host_endpoint(spec), ("hep",)),
    Kind("IPPool", IpPool, IpPoolSpec, lambda spec, metadata: check.pool(spec), ("ipp",)),
    Kind("IPReservation", IpReservation, IpReservationSpec, lambda spec, metadata: check.reservation(spec), ("ipr",)),
    Kind("BGPConfiguration", BgpConfiguration, BgpConfigurationSpec, check.bgp_configuration, ("bgpconfig",)),
    Kind("BGPPeer", BgpPeer, BgpPeerSpec, lambda spec, metadata: check.bgp_peer(spec)),
    Kind("BGPFilter", BgpFilter, BgpFilterSpec, lambda spec, metadata: check.bgp_filter(spec)),
)
_BY_NAME = {name.lower(): kind for kind in KINDS for name in (kind.name, kind.plural, f"{kind.name}List", *kind.short)}


def kind_named(text: str) -> Kind:
    """By its name in any case, its plural or its short form. Raises InvalidArgument."""
    if kind := _BY_NAME.get(text.lower()):
        return kind
    raise InvalidArgument(f"no such kind: {text[:60]}: there are {', '.join(kind.name for kind in KINDS)}")


def kind_of(record: Resource) -> Kind:
    of_network = bool(record.metadata.namespace)
    return next(kind for kind in KINDS if kind.record is type(record) and kind.of_network == of_network)
