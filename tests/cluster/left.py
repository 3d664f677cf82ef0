"""What is there on every host and in etcd: the same before a test and after it, once what the test made is removed."""

from __future__ import annotations

import re

from tests.cluster.place import Cluster, Member
from tests.product.traces import becomes, traces

PREFIX = "/linkspan/"
# What says who is there, and what was decided last.
_STAYS = {"schema", "hosts", "underlays", "alive", "serial"}


def everything(cluster: Cluster) -> dict[str, object]:
    """By host and kind. A host that was replaced by another, with an empty disk, looks the same."""
    found = {f"{member.name}: {kind}": value for member in cluster for kind, value in _on(member).items()}
    keys = cluster.etcd.ctl("get", "--prefix", "--keys-only", PREFIX).split()
    return {**found, "etcd": [key for key in keys if not _STAYS & set(key.split("/"))]}


def _on(member: Member) -> dict[str, object]:
    found = traces(member)
    del found["daemon's files"]  # its connections to etcd come and go
    del found["images"]
    found["nft"] = re.sub(r'comment "[0-9a-f]*"', "", "".join(map(str, found["nft"])))  # type: ignore[call-overload]
    found["networks"] = sorted(member.out("network", "ls", "--format", "{{.Name}} {{.Driver}} {{.Scope}}").splitlines())
    return found


def settles(cluster: Cluster, before: dict[str, object], within: float = 10) -> None:
    """Asserts that everything becomes the same as before."""
    becomes(before, lambda: everything(cluster), within)
