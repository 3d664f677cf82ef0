"""Rows: networks made and removed, and ports of a running container published and withdrawn, through the API."""

from __future__ import annotations

from collections import defaultdict

from demo.console import Console

from bench.daemons import Daemon
from bench.place import TIDYING, settle
from bench.rows import TIMES, Row, Section, milliseconds

THERE = 1_000
GROWTH = 1.5
FIRST, EXTRA = 20_000, 30_000


def networks(ours: Daemon, theirs: Daemon, console: Console, runs: int) -> Section:
    """In turns; and ours alone where Docker cannot."""
    made: dict[Daemon, list[float]] = defaultdict(list)
    gone: dict[Daemon, list[float]] = defaultdict(list)
    with console.working("network create and rm"):
        for number in range(-1, runs):  # the first is to warm up
            for daemon in (ours, theirs):
                creating, id_ = daemon.timed("POST", "/networks/create", {"Name": f"bench{number}"})
                removing, _ = daemon.timed("DELETE", f"/networks/{id_['Id']}")
                settle()
                if number >= 0:
                    made[daemon].append(creating)
                    gone[daemon].append(removing)
    published: dict[int, list[float]] = defaultdict(list)
    withdrawn: dict[int, list[float]] = defaultdict(list)
    with console.working(f"publish beside {THERE:,} ports of a container, and beside none"):
        containers = {count: ours.create(range(FIRST, FIRST + count)) for count in (0, THERE)}
        for id_ in containers.values():
            ours.run(id_)
        for number in range(-1, runs):
            for count, id_ in containers.items():
                wanted = {"PortBindings": {"80/tcp": [{"HostPort": str(EXTRA)}]}}
                publishing, _ = ours.timed("POST", f"/containers/{id_}/publish", wanted)
                withdrawing, _ = ours.timed("POST", f"/containers/{id_}/unpublish", wanted)
                if number >= 0:
                    published[count].append(publishing)
                    withdrawn[count].append(withdrawing)
        for id_ in containers.values():
            ours.remove(id_)
    rows = [
        Row("POST /networks/create", milliseconds(made[ours]), (("dockerd", milliseconds(made[theirs])),)),
        Row("DELETE /networks/…", milliseconds(gone[ours]), (("dockerd", milliseconds(gone[theirs])),)),
    ]
    for verb, found in (("publish", published), ("unpublish", withdrawn)):
        rows.append(
            Row(
                f"POST /containers/…/{verb} one port, running, with none",
                milliseconds(found[0]),
            )
        )
        rows.append(
            Row(
                f"the same, with {THERE:,} ports of that container",
                milliseconds(found[THERE]),
                (("with none", milliseconds(found[0])),),
            )
        )
    return Section(
        "Networks, and ports of a running container",
        tuple(rows),
        "From the request's first byte to the answer's last, on a connection of its own. A network has a subnet of the "
        f"daemon's choice and nobody on it; after its removal the kernel gets {TIDYING} s to tidy up. A port is "
        "published on a container that runs, and withdrawn again; Docker has nothing to compare. The container's "
        f"record, which is written anew, grows with its own ports; other containers' ports cost nothing (“publish one "
        f"port, 10,000 ports there” above: ≤ {GROWTH}{TIMES}).",
    )
