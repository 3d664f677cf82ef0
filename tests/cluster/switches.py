"""Open vSwitch on every host of the cluster."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

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


def words_of_switch(folder: Path) -> str:
    """What can be said of a switch that does not do what it should."""
    said = [(folder / "ovs.log").read_text(errors="replace")[-3000:]]
    questions = ["tnl/ports/show", "ovs/route/show", "tnl/neigh/show", "dpif/show"]
    commands = [["ovs-appctl", "-t", str(at), word] for at in folder.glob("ovs-vswitchd.*.ctl") for word in questions]
    for command in [["ovs-vsctl", "--timeout=5", f"--db=unix:{folder}/db.sock", "show"], *commands]:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20)
        said.append(f"{command[-1]}: {done.stdout}{done.stderr}")
    return "\n".join(said)
