"""Calico's v3 resources: what they have in common. Each is a record of ours, and JSON and YAML with Calico's names.

A resource belongs to no host. One of scope `global` is the cluster's; a host without a cluster has its own.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from linkspan.model.cluster import LOCAL

API_VERSION = "projectcalico.org/v3"


class Part(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Base of every struct with Calico's field names."""


class Metadata(Part, frozen=True, kw_only=True):
    name: str
    namespace: str = ""  # the name of a network, where the kind has one
    labels: Mapping[str, str] = msgspec.field(default_factory=dict)
    annotations: Mapping[str, str] = msgspec.field(default_factory=dict)
    uid: str = ""  # of this one, among all that ever had its name
    resource_version: str = ""  # a number that grows with every change
    creation_timestamp: str = ""  # RFC 3339


class Resource(Part, frozen=True, kw_only=True):
    """Base of the records."""

    metadata: Metadata
    scope: str = LOCAL

    @property
    def id(self) -> str:
        """`name`, or `network/name`."""
        return f"{self.metadata.namespace}/{self.name}" if self.metadata.namespace else self.name

    @property
    def name(self) -> str:
        return self.metadata.name
