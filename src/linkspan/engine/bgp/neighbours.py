"""Whose BGP peers this host is."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator
from typing import Literal

from linkspan.engine.bgp.resources import Resources, Secrets, cluster_id, others, password, takes
from linkspan.errors import InvalidArgument
from linkspan.model.bgp import DEFAULT_PORT, BgpPeerSpec, FilterRule, seconds, split_peer
from linkspan.model.cluster import Host

LASTS = 120  # seconds for which the routes of somebody whose BGP restarts are kept, where nobody says otherwise


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Neighbour:
    """One session. It carries the routes of the IP version that it is spoken over."""

    name: str  # a word that is the session's alone
    said: str  # for people: `host h2`, `rack1`
    kind: Literal["host", "router"]  # of the cluster, or somebody outside
    version: int
    local: str  # this host's address; "" where the kernel is to choose
    address: str
    port: int = DEFAULT_PORT
    as_number: int
    password: str = ""
    restart_time: int = LASTS  # seconds
    client: bool = False  # of this host, which is a route reflector
    keep_next_hop: bool = False
    ttl_security: int = 0  # hops
    own_as: int = 0  # how often routes may have passed our own AS
    imports: tuple[FilterRule, ...] = ()  # before what holds anyhow
    exports: tuple[FilterRule, ...] = ()


def neighbours(
    own: Host, hosts: tuple[Host, ...], resources: Resources, secrets: Secrets
) -> tuple[tuple[Neighbour, ...], tuple[str, ...]]:
    """The sessions, one for each pair of a peer and an IP version that both have; and why others cannot be."""
    found: dict[str, Neighbour] = {}
    problems: dict[str, None] = {}
    for said, session in _sessions(own, hosts, resources, secrets):
        if session is None:
            problems[said] = None
        else:
            found.setdefault(session.name, session)
    return tuple(sorted(found.values(), key=lambda n: (n.kind, n.said, n.version))), tuple(problems)


_Found = Iterator[tuple[str, Neighbour | None]]


def _sessions(own: Host, hosts: tuple[Host, ...], resources: Resources, secrets: Secrets) -> _Found:
    around = others(own, hosts)
    for name, spec in sorted(resources.peers.items()):
        # Who asks for something of a peer of the mesh's goes first.
        yield from _peer(own, around, name, spec, resources, secrets)
    if resources.mesh:
        try:
            key = password("nodeMeshPassword of the BGPConfiguration default", resources.mesh_password, secrets)
        except InvalidArgument as error:
            yield str(error), None
            return
        time = seconds("", resources.mesh_restart_time, LASTS)
        for host in around:
            yield from _to_host(own, host, resources, BgpPeerSpec(), key, time)


def _peer(
    own: Host,
    around: list[Host],
    name: str,
    spec: BgpPeerSpec,
    resources: Resources,
    secrets: Secrets,
) -> _Found:
    def asks(host: Host) -> bool:
        if spec.node:
            return host.name == spec.node
        return not spec.node_selector or takes(spec.node_selector, host)

    def asked(host: Host) -> bool:
        return takes(spec.peer_selector, host)

    chosen: list[Host] = []
    if spec.peer_selector:
        chosen = [h for h in around if (asks(own) and asked(h)) or (asked(own) and asks(h))]
    if not chosen and (spec.peer_selector or not asks(own)):
        return
    try:
        key = password(f"BGPPeer {name}", spec.password, secrets)
    except InvalidArgument as error:
        yield str(error), None
        return
    if missing := [name_ for name_ in spec.filters if name_ not in resources.filters]:
        yield f"BGPPeer {name}: there is no BGPFilter {', '.join(missing)}", None  # what it keeps out must not come in
        return
    time = seconds("", spec.max_restart_time, LASTS)
    for host in chosen:
        yield from _to_host(own, host, resources, spec, key, time)
    if spec.peer_ip:
        yield _to_router(own, name, spec, resources, key, time)


def _to_host(own: Host, host: Host, resources: Resources, spec: BgpPeerSpec, key: str, time: int) -> _Found:
    reflects = bool(cluster_id(own)) and cluster_id(host) != cluster_id(own)
    for version, local, address in ((4, own.address, host.address), (6, own.address6, host.address6)):
        if local and address:
            yield (
                "",
                Neighbour(
                    name=_word("host", host.id, version),
                    said=f"host {host.name}",
                    kind="host",
                    version=version,
                    local=local,
                    address=address,
                    port=resources.port(host),
                    as_number=resources.as_number(host),
                    password=key,
                    restart_time=time,
                    client=reflects and resources.as_number(host) == resources.as_number(own),
                    keep_next_hop=spec.keep_original_next_hop,
                    ttl_security=spec.ttl_security or 0,
                    own_as=spec.num_allowed_local_as_numbers or 0,
                    imports=_rules(spec, resources, version, incoming=True),
                    exports=_rules(spec, resources, version, incoming=False),
                ),
            )


def _to_router(
    own: Host, name: str, spec: BgpPeerSpec, resources: Resources, key: str, time: int
) -> tuple[str, Neighbour | None]:
    address, port = split_peer("peerIP", spec.peer_ip)
    version = 6 if ":" in address else 4
    local = own.address6 if version == 6 else own.address
    if address in (own.address, own.address6):
        return f"BGPPeer {name}: {address} is this host itself", None
    if not local and spec.source_address == "UseNodeIP":
        return f"BGPPeer {name}: this host has no IPv{version} address in its cluster to reach {address} from", None
    return "", Neighbour(
        name=_word("peer", name, version),
        said=name,
        kind="router",
        version=version,
        local=local if spec.source_address == "UseNodeIP" else "",
        address=address,
        port=port or DEFAULT_PORT,
        as_number=spec.as_number or 0,
        password=key,
        restart_time=time,
        client=bool(cluster_id(own)) and spec.as_number == resources.as_number(own),
        keep_next_hop=spec.keep_original_next_hop,
        ttl_security=spec.ttl_security or 0,
        own_as=spec.num_allowed_local_as_numbers or 0,
        imports=_rules(spec, resources, version, incoming=True),
        exports=_rules(spec, resources, version, incoming=False),
    )


def _rules(spec: BgpPeerSpec, resources: Resources, version: int, *, incoming: bool) -> tuple[FilterRule, ...]:
    filters = [resources.filters[name] for name in spec.filters]
    if incoming:
        return tuple(rule for f in filters for rule in (f.import_v6 if version == 6 else f.import_v4))
    return tuple(rule for f in filters for rule in (f.export_v6 if version == 6 else f.export_v4))


def _word(kind: str, id_: str, version: int) -> str:
    return f"{kind}_{hashlib.sha256(id_.encode()).hexdigest()[:12]}_{version}"
