"""`bgp status`: what it shows of what the daemon says."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from fake_daemon import Answer, FakeDaemon

from conftest import Command

SESSION = {
    "Peer": "host h2",
    "Kind": "host",
    "Address": "10.0.0.2",
    "AS": 64512,
    "Client": False,
    "State": "Active",
    "Since": (datetime.now(UTC) - timedelta(hours=3)).isoformat().replace("+00:00", "Z"),
    "Trouble": "Socket: Connection refused",
    "Gone": 2,
    "Imported": 1,
    "Filtered": 2,
    "Exported": 3,
}
FOUND = {
    "Mode": "bird",
    "Wanted": True,
    "Folder": "/run/linkspan/bgp",
    "Trouble": "BIRD refuses its configuration: line 3",
    "Problems": ["BGPPeer rack: there is no BGPFilter f"],
    "Restarts": 2,
    "AS": 64512,
    "RouterID": "10.0.0.1",
    "ClusterID": "1.0.0.1",
    "Pools": [],
    "Announced": ["10.65.1.0/26"],
    "Sessions": [SESSION],
    "Refused": [{"Prefix": "10.65.1.0/28", "By": "rack"}],
}


def test_everything_is_shown(linkspan: Command, daemon: FakeDaemon) -> None:
    daemon.on["GET /bgp"] = Answer(200, FOUND)
    shown = linkspan("bgp", "status").stdout.decode()
    assert shown == (
        "This host:   AS 64512, router id 10.0.0.1\n"
        "Reflector:   of cluster 1.0.0.1\n"
        "Routed by:   BIRD, started again 2 times\n"
        "Trouble:     BIRD refuses its configuration: line 3\n"
        "Problem:     BGPPeer rack: there is no BGPFilter f\n"
        "Not taken:   10.65.1.0/28, which is ours, by rack\n"
        "\n"
        "PEER      ADDRESS    AS        STATE                                                               "
        "SINCE         TAKEN     REFUSED   TOLD\n"
        "host h2   10.0.0.2   64512     Active (Socket: Connection refused), lost 2 times in five minutes   "
        "3 hours ago   1         2         3\n"
        "\n"
        "ANNOUNCED\n"
        "10.65.1.0/26\n"
    )


def test_nobody_needs_it_or_others_do_it(linkspan: Command, daemon: FakeDaemon) -> None:
    daemon.on["GET /bgp"] = Answer(200, {**FOUND, "Wanted": False})
    said = b"No network needs BGP now.\nProblem: BGPPeer rack: there is no BGPFilter f\n"
    assert linkspan("bgp", "status").stdout == said
    daemon.on["GET /bgp"] = Answer(200, {**FOUND, "Mode": "external"})
    assert b"whatever you run with the files in /run/linkspan/bgp" in linkspan("bgp", "status").stdout
