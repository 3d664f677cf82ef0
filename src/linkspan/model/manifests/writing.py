"""Records into manifests, which read back are the same records."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec
import yaml

from linkspan.model.manifests.kinds import kind_of
from linkspan.model.resource import API_VERSION, Resource

_DUMPER = yaml.CSafeDumper if yaml.__with_libyaml__ else yaml.SafeDumper


def manifest(record: Resource) -> dict[str, Any]:
    """With Calico's names, and without what has its default."""
    found = msgspec.to_builtins(record)
    found.pop("scope", None)
    order = found.get("spec", {}).get("order")
    if isinstance(order, float) and order.is_integer():
        found["spec"]["order"] = int(order)  # as people write it
    return {"apiVersion": API_VERSION, "kind": kind_of(record).name, **found}


def yaml_of(records: Iterable[Resource]) -> str:
    """A document each."""
    documents = [manifest(record) for record in records]
    return str(yaml.dump_all(documents, Dumper=_DUMPER, sort_keys=False, allow_unicode=True, width=120))
