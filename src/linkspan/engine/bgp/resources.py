"""What users say of BGP, as the rest reads it: with what holds where they say nothing."""

from __future__ import annotations

import dataclasses
import hashlib
import ipaddress
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TypeVar

from linkspan.errors import InvalidArgument
from linkspan.model.bgp import (
    DEFAULT,
    DEFAULT_AS,
    DEFAULT_PORT,
    OF_HOST,
    BgpConfigurationSpec,
    BgpFilterSpec,
    BgpPeerSpec,
    Password,
    SecretKey,
    check_secret,
    community_numbers,
)
from linkspan.model.cluster import Host
from linkspan.model.selector import parse
from linkspan.model.snapshot import Snapshot

# A host with this label passes on what its peers announce. Its value is the cluster's id of reflectors that stand in
# for each other, an IPv4 address; where it is none, the host's own router id.
REFLECTOR = "projectcalico.org/RouteReflectorClusterID"
NAMES = ("kubernetes.io/hostname", "projectcalico.org/name")  # labels that every host has: its name
Secrets = Mapping[SecretKey, str]
T = TypeVar("T")


@dataclasses.dataclass(frozen=True, slots=True)
class Resources:
    """By name."""

    configurations: Mapping[str, BgpConfigurationSpec] = dataclasses.field(default_factory=dict)
    peers: Mapping[str, BgpPeerSpec] = dataclasses.field(default_factory=dict)
    filters: Mapping[str, BgpFilterSpec] = dataclasses.field(default_factory=dict)

    @property
    def mesh(self) -> bool:
        """Whether every host is every other's peer."""
        return self._default.node_to_node_mesh_enabled is not False

    def as_number(self, host: Host) -> int:
        return self._said(host, lambda spec: spec.as_number) or DEFAULT_AS

    def port(self, host: Host) -> int:
        return self._said(host, lambda spec: spec.listen_port) or DEFAULT_PORT

    def log_severity(self, host: Host) -> str:
        return self._said(host, lambda spec: spec.log_severity_screen) or "Info"

    @property
    def mesh_password(self) -> Password | None:
        return self._default.node_mesh_password

    @property
    def mesh_restart_time(self) -> str:
        return self._default.node_mesh_max_restart_time

    def communities(self, host: Host) -> Iterator[tuple[str, tuple[tuple[int, ...], ...]]]:
        """For each subnet that they are for, the communities that what is announced of it carries."""
        named = {c.name: c.value for c in self._said(host, lambda spec: spec.communities) or ()}
        for advertised in self._said(host, lambda spec: spec.prefix_advertisements) or ():
            texts = [named.get(text, text) for text in advertised.communities]
            yield advertised.cidr, tuple(community_numbers("communities", text) for text in texts)

    def secrets(self) -> set[SecretKey]:
        """Those that lie on the hosts."""
        passwords = [self.mesh_password, *(peer.password for peer in self.peers.values())]
        return {p.secret_key_ref for p in passwords if p and p.secret_key_ref}

    @property
    def _default(self) -> BgpConfigurationSpec:
        return self.configurations.get(DEFAULT, BgpConfigurationSpec())

    def _said(self, host: Host, field: Callable[[BgpConfigurationSpec], T]) -> T:
        own = self.configurations.get(OF_HOST + host.name)
        return (field(own) if own else None) or field(self._default)


def resources(snapshot: Snapshot) -> Resources:
    return Resources(
        {found.name: found.spec for found in snapshot.bgp_configurations.values()},
        {found.name: found.spec for found in snapshot.bgp_peers.values()},
        {found.name: found.spec for found in snapshot.bgp_filters.values()},
    )


def takes(selector: str, host: Host) -> bool:
    """Whether a selector of hosts takes this one."""
    return parse(selector).matches(labels_of(host))


def labels_of(host: Host) -> dict[str, str]:
    """What selectors of hosts run over."""
    return {**host.labels, **dict.fromkeys(NAMES, host.name)}


def cluster_id(host: Host) -> str:
    """The id of a route reflector's cluster; "" where the host is none."""
    text = host.labels.get(REFLECTOR)
    if text is None:
        return ""
    try:
        return str(ipaddress.IPv4Address(text))
    except ValueError:
        return router_id(host)


def router_id(host: Host) -> str:
    """Its IPv4 address; of a host that has none, one made of its id."""
    return host.address or str(ipaddress.IPv4Address(hashlib.sha256(host.id.encode()).digest()[:4]))


def password(path: str, asked: Password | None, secrets: Secrets) -> str:
    """The password itself, "" for none. Raises InvalidArgument where the host has not got it, or it is none."""
    if asked is None or asked.secret_key_ref is None:
        return asked.value if asked else ""
    secret = asked.secret_key_ref
    if secret not in secrets:
        raise InvalidArgument(f"{path}: this host has no secret {secret.name}/{secret.key}")
    check_secret(f"{path}: secret {secret.name}/{secret.key}", secrets[secret])
    return secrets[secret]


def others(own: Host, hosts: Iterable[Host]) -> list[Host]:
    """In an order that is the same everywhere."""
    return sorted((host for host in hosts if host.id != own.id), key=lambda host: host.id)
