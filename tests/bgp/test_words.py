"""What BIRD says: sessions, and what was not taken."""

from __future__ import annotations

import dataclasses
from datetime import datetime

import pytest

from linkspan.engine.bgp.plan import check_routing
from linkspan.engine.bgp.words import Session, parse_refused, parse_sessions
from linkspan.errors import Unsupported
from linkspan.state.host import HostFacts

SAID = """\
Name       Proto      Table      State  Since         Info
device1    Device     ---        up     14:37:31.718

own4       Static     master4    up     14:37:31.718
  Channel ipv4
    State:          UP
    Routes:         1 imported, 0 exported, 1 preferred

host_4e1b33c7e9f9_4 BGP        ---        up     2026-11-26T14:37:33.578  Established
  BGP state:          Established
    Neighbor address: 10.211.55.5
  Channel ipv4
    State:          UP
    Routes:         4 imported, 2 filtered, 3 exported, 1 preferred
    Route change stats:     received   rejected   filtered    ignored   accepted

peer_8e9d1a8d5b18_4 BGP        ---        start  2026-11-25T01:00:00.000  Active        Socket: Connection closed
  BGP state:          Active
    Last error:       Socket: Connection closed

host_0000000000aa_4 BGP        ---        down   2026-11-26T14:00:00.000
"""


def test_sessions() -> None:
    up, waiting, down = parse_sessions(SAID.splitlines())
    assert up == Session(
        name="host_4e1b33c7e9f9_4",
        state="Established",
        since="2026-11-26T14:37:33.578",
        imported=4,
        filtered=2,
        exported=3,
    )
    assert up.up and not waiting.up
    then = datetime.fromisoformat("2026-11-26T14:37:33.578")  # the host's time
    assert datetime.fromisoformat(up.since_utc).timestamp() == then.timestamp() and up.since_utc.endswith("Z")
    assert (waiting.state, waiting.since, waiting.trouble) == (
        "Active",
        "2026-11-25T01:00:00.000",
        "Socket: Connection closed",
    )
    assert (down.state, down.imported) == ("Down", 0)


def test_a_session_that_has_come_again() -> None:
    had, again, same = (
        Session(name="s", state="Established", since=f"2026-11-26T14:37:{second}")
        for second in ("33.578", "34.0", "33.579")
    )
    assert again.is_another_than(had) and not same.is_another_than(had)


def test_what_was_refused() -> None:
    said = [
        "Table master4:",
        "10.65.1.0/26         unicast [peer_8e9d1a8d5b18_4 15:05:01.111 from 10.211.55.9] U (100) [AS65001i]",
        "\tvia 10.211.55.9 on eth0",
        "                     unicast [host_4e1b33c7e9f9_4 15:05:01.111] U (100) [i]",
        "\tvia 10.211.55.5 on eth0",
    ]
    prefix = "10.65.1.0/26"
    assert parse_refused(said) == ((prefix, "peer_8e9d1a8d5b18_4"), (prefix, "host_4e1b33c7e9f9_4"))


def test_a_host_without_bird_says_what_to_install() -> None:
    here = HostFacts("/run/netns", bgp="missing")
    for bgp in ("bird", "external", "off"):
        check_routing(dataclasses.replace(here, bgp=bgp))
    with pytest.raises(Unsupported, match="install bird2"):
        check_routing(here)
