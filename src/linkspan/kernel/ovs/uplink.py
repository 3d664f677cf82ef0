"""The flows of an uplink: of all that its network card receives, what belongs to tunnels of ours goes on, no more.

The switch gets a copy of whatever the card receives, and the kernel deals with all of it as before. To the bridge's own
port go packets of tunnels to us, which are unpacked there, and answers to the switch's questions for MAC addresses,
which it notes. Frames that a flow sent out again at the card would tell the physical switch a wrong place of their
senders: so only what the switch itself sends goes out, known by its source address, and nothing comes back.
"""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

from linkspan.errors import Internal, Unsupported
from linkspan.state.switch import VXLAN_PORT

_PROGRAM = "ovs-ofctl"
_PATIENCE = 10  # seconds


def flows(address: str) -> tuple[str, ...]:
    """The card is the only port but the bridge's own, and what the switch sends out at it counts as come from it."""
    wanted = (
        f"arp,arp_op=2,arp_tpa={address} actions=LOCAL",
        f"ip,nw_proto=47,nw_dst={address} actions=LOCAL",
        f"udp,tp_dst={VXLAN_PORT},nw_dst={address} actions=LOCAL",
        f"arp,arp_op=1,arp_spa={address} actions=IN_PORT",
        f"ip,nw_proto=47,nw_src={address} actions=IN_PORT",
        f"udp,tp_dst={VXLAN_PORT},nw_src={address} actions=IN_PORT",
        "priority=0 actions=drop",
    )
    # By its cookie each flow is known as one of just this set.
    cookie = "0x6c73" + hashlib.sha256("\n".join(wanted).encode()).hexdigest()[:12]
    return tuple(f"cookie={cookie},{flow}" for flow in wanted)


class Flows:
    """Of bridges, by way of their sockets, which lie in `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def set(self, bridge: str, address: str) -> None:
        """Those and no others. Raises Internal with the switch's words, Unsupported where a program is missing."""
        self._run("replace-flows", bridge, "-", given="\n".join(flows(address)))

    def are_set(self, bridge: str, address: str) -> bool:
        wanted = flows(address)
        cookie, _, _ = wanted[0].partition(",")
        try:
            return f"flow_count={len(wanted)}" in self._run("dump-aggregate", bridge, f"{cookie}/-1").split()
        except Internal:
            return False

    def _run(self, verb: str, bridge: str, argument: str, given: str = "") -> str:
        command = [_PROGRAM, f"--timeout={_PATIENCE}", verb, f"unix:{self._folder}/{bridge}.mgmt", argument]
        try:
            done = subprocess.run(command, input=given, capture_output=True, text=True, timeout=2 * _PATIENCE)
        except FileNotFoundError:
            raise Unsupported(f"there is no {_PROGRAM} on this host: install openvswitch-common") from None
        except subprocess.TimeoutExpired:
            raise Internal(f"cannot set the flows of bridge {bridge}: Open vSwitch does not answer") from None
        if done.returncode:
            raise Internal(f"cannot set the flows of bridge {bridge}: {done.stderr.strip()}")
        return done.stdout
