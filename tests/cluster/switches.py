"""Open vSwitch on every host of the cluster."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from tests.cluster.place import Cluster
from tests.ovs import OpenVSwitch, open_vswitch


@contextlib.contextmanager
def switches_of(hosts: Cluster) -> Iterator[dict[str, OpenVSwitch]]:
    """By host. What the test made is removed before they end, and then nothing of ours is left in them."""
    with contextlib.ExitStack() as stack:
        made = {member.name: stack.enter_context(open_vswitch(member.here, member.folder / "ovs")) for member in hosts}
        yield made
        hosts.clear()
        for switch in made.values():
            assert [row["name"] for row in switch.table("Bridge")] == []
            assert switch.table("QoS") == []
