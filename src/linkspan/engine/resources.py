"""Resources as Calico has them: what becomes of a file of them, and what does not go together.

A file is taken whole or not at all. What it says of a resource replaces what was said before; what does not change is
left as it is. `resourceVersion` and `uid`, where a file has them, must be those of now: so nobody undoes unknowingly
what somebody else has said meanwhile. Of a resource that is gone they mean nothing: it is made anew.
"""

from __future__ import annotations

import dataclasses
import ipaddress
from collections.abc import Iterator, Sequence

import msgspec

from linkspan.engine.change import Change, network_event
from linkspan.engine.ippools import followers
from linkspan.engine.policy.host import Own, cut_off
from linkspan.errors import Conflict, Forbidden, NotFound
from linkspan.model.ippool import IpPool
from linkspan.model.manifests.kinds import KINDS, Kind, kind_of
from linkspan.model.policy import DEFAULT_TIER, EGRESS, INGRESS, THE_DEFAULT_TIER, HostEndpoint, Policy, Tier
from linkspan.model.resource import Resource
from linkspan.model.snapshot import NAMES, Snapshot, drop, put
from linkspan.state.host import HostFacts

_MOST_SAID = 10
CREATED, CONFIGURED, UNCHANGED, DELETED = "created", "configured", "unchanged", "deleted"


@dataclasses.dataclass(frozen=True, slots=True)
class Outcome:
    record: Resource
    result: str


@dataclasses.dataclass(frozen=True, slots=True)
class Decision:
    """`change.warnings` say what of it means nothing yet."""

    change: Change
    outcomes: tuple[Outcome, ...]


def apply_resources(
    snapshot: Snapshot, asked: Sequence[Resource], uids: Sequence[str], scope: str, now: str, host: HostFacts
) -> Decision:
    """`uids` are for those that are new, one for each. Raises Conflict, and what a network's change raises."""
    outcomes = tuple(_applied(snapshot, resource, uid, scope, now) for resource, uid in zip(asked, uids, strict=True))
    changed = [outcome.record for outcome in outcomes if outcome.result != UNCHANGED]
    after = snapshot.after(map(put, changed))
    for record in changed:
        check_together(after, record)
    warnings = tuple(warning for outcome in outcomes for warning in _warnings(after, outcome.record, host))
    pools = (record for record in changed if isinstance(record, IpPool))
    networks = {network.id: network for pool in pools for network in followers(after, pool, host)}
    events = tuple(network_event("update", network) for network in networks.values())
    return Decision(Change((*map(put, changed), *map(put, networks.values())), events, warnings), outcomes)


def delete_resources(snapshot: Snapshot, asked: Sequence[Resource]) -> Decision:
    """What they say besides their kind and name is only held against what is there.

    Raises NotFound, Conflict, Forbidden.
    """
    if any(isinstance(resource, Tier) and resource.name == DEFAULT_TIER for resource in asked):
        raise Forbidden("the tier default is always there")
    found = [_present(snapshot, resource) for resource in asked]
    missing = [called(resource) for resource, record in zip(asked, found, strict=True) if record is None]
    if missing:
        raise NotFound(f"not found: {', '.join(missing)}")
    records = [record for record in found if record is not None]
    for resource, record in zip(asked, records, strict=True):
        _check_version(resource, record)
    after = snapshot.after(map(drop, records))
    for record in records:
        if isinstance(record, Tier) and (left := [p for p in after.policies.values() if p.spec.tier == record.name]):
            raise Conflict(f"{called(record)} has policies: {', '.join(map(called, left[:5]))}: delete them first")
    return Decision(Change(tuple(map(drop, records))), tuple(Outcome(record, DELETED) for record in records))


def listed(snapshot: Snapshot, kind: Kind | None, network: str) -> Iterator[Resource]:
    """In order of kind, network and name; of one kind and one network, where they are named."""
    for one in KINDS:
        if kind not in (None, one):
            continue
        found = {record.id: record for record in snapshot.resources(NAMES[one.record]).values()}
        if one.record is Tier:
            found = {DEFAULT_TIER: THE_DEFAULT_TIER, **found}
        for id_ in sorted(found):
            if kind_of(found[id_]) is one and network in ("", found[id_].metadata.namespace):
                yield found[id_]


def check_access(before: Snapshot, change: Change, own: Own) -> None:
    """Raises Conflict where hosts would be cut off that are not yet."""
    after = before.after(change.writes)
    if not (after.host_endpoints or before.host_endpoints):
        return
    had = {one.partition(": ")[0] for one in cut_off(before, own)}
    if cut := [one for one in cut_off(after, own) if one.partition(": ")[0] not in had]:
        more = f"\nand {len(cut) - _MOST_SAID} more" if len(cut) > _MOST_SAID else ""
        lost = "\n".join(cut[:_MOST_SAID])
        raise Conflict(f"this would cut hosts off (use --force to do it all the same):\n{lost}{more}")


def called(record: Resource) -> str:
    """`NetworkPolicy shop/web`"""
    return f"{kind_of(record).name} {record.id}"


def check_together(after: Snapshot, record: Resource) -> None:
    """Raises Conflict where it does not go with the others."""
    match record:
        case Policy(spec=spec) if spec.tier != DEFAULT_TIER and spec.tier not in after.tiers:
            raise Conflict(f"{called(record)}: there is no tier {spec.tier}: apply it first, or in the same file")
        case HostEndpoint(spec=spec):
            for other in after.host_endpoints.values():
                same = (other.spec.node, other.spec.interface_name) == (spec.node, spec.interface_name)
                if other.id != record.id and same and spec.interface_name:
                    raise Conflict(f"{called(record)}: {called(other)} is of that interface already")
        case IpPool(spec=spec):
            subnet = ipaddress.ip_network(spec.cidr)
            for pool in after.ip_pools.values():
                theirs = ipaddress.ip_network(pool.spec.cidr)
                if pool.id != record.id and subnet.version == theirs.version and subnet.overlaps(theirs):
                    raise Conflict(f"{called(record)}: {subnet} overlaps {called(pool)} ({theirs})")


def _applied(snapshot: Snapshot, asked: Resource, uid: str, scope: str, now: str) -> Outcome:
    if isinstance(asked, Tier) and asked.name == DEFAULT_TIER:
        return Outcome(THE_DEFAULT_TIER, UNCHANGED)  # it can only have been given as it is
    before = _present(snapshot, asked)
    if before is None:
        metadata = msgspec.structs.replace(asked.metadata, uid=uid, resource_version="1", creation_timestamp=now)
        return Outcome(msgspec.structs.replace(asked, metadata=metadata, scope=scope), CREATED)
    _check_version(asked, before)
    metadata = msgspec.structs.replace(
        asked.metadata,
        uid=before.metadata.uid,
        resource_version=before.metadata.resource_version,
        creation_timestamp=before.metadata.creation_timestamp,
    )
    same = msgspec.structs.replace(asked, metadata=metadata, scope=scope)
    if same == before:
        return Outcome(before, UNCHANGED)
    version = str(int(before.metadata.resource_version) + 1)
    metadata = msgspec.structs.replace(metadata, resource_version=version)
    return Outcome(msgspec.structs.replace(same, metadata=metadata), CONFIGURED)


def _present(snapshot: Snapshot, asked: Resource) -> Resource | None:
    write = put(asked)
    return snapshot.resources(write.kind).get(write.id)


def _check_version(asked: Resource, there: Resource) -> None:
    uid, version = asked.metadata.uid, asked.metadata.resource_version
    if uid and uid != there.metadata.uid:
        raise Conflict(f"{called(there)} has been made anew since (its uid is {there.metadata.uid}): read it again")
    if version and version != there.metadata.resource_version:
        raise Conflict(
            f"{called(there)} has been changed since: resourceVersion {version} was given, it is at "
            f"{there.metadata.resource_version}: read it again"
        )


def _warnings(after: Snapshot, record: Resource, host: HostFacts) -> Iterator[str]:
    network = record.metadata.namespace
    if network and not any(one.name == network for one in after.networks.values()):
        yield f"{called(record)}: there is no network {network} yet"
    if host.log_hidden and isinstance(record, Policy) and record.logs:
        yield f"{called(record)} has rules with Log: {host.log_hidden}"
    if isinstance(record, Policy):
        spec = record.spec
        for type_, rules in ((INGRESS, spec.ingress), (EGRESS, spec.egress)):
            if rules and type_ not in spec.types:
                yield f"{called(record)}: types does not name {type_}: its {type_.lower()} rules mean nothing"
    if isinstance(record, HostEndpoint) and record.spec.node not in {
        host.name,
        *(h.name for h in after.hosts.values()),
    }:
        yield f"{called(record)}: there is no host {record.spec.node} yet"
