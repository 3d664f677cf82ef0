"""Rows: `docker run -d` until it returns, with the same docker client against linkspand and against dockerd."""

from __future__ import annotations

from collections import defaultdict

from demo.console import Console

from bench.daemons import COMMAND, IMAGE, Daemon
from bench.rows import Row, Section, milliseconds

OF_DEBIANS = 0.3  # of Debian's time, which is about half of Docker 29's
NETWORK_MS = 5.0
PORT = "20080:80"


def running(ours: Daemon, theirs: Daemon, console: Console, runs: int) -> Section:
    """In turns; a container is removed before the next, which is not timed."""
    published: dict[Daemon, list[float]] = defaultdict(list)
    alone: dict[Daemon, list[float]] = defaultdict(list)
    asking: list[float] = []
    removing: dict[Daemon, list[float]] = defaultdict(list)
    with console.working("docker run"):
        for number in range(-1, runs):  # the first is to warm up
            for daemon in (ours, theirs):
                first, id_ = daemon.docker("run", "-d", "-p", PORT, IMAGE, *COMMAND)
                removed = daemon.remove(id_)
                second, id_ = daemon.docker("run", "-d", "--network", "none", IMAGE, *COMMAND)
                daemon.remove(id_)
                if number >= 0:
                    published[daemon].append(first)
                    alone[daemon].append(second)
                    removing[daemon].append(removed)
            asked, _ = ours.docker("version", "--format", "{{.Server.Version}}")
            if number >= 0:
                asking.append(asked)
    mine, others = milliseconds(published[ours]), milliseconds(published[theirs])
    # Each round's own difference: what else the machine does changes less within a round than between rounds.
    share = milliseconds([a - b for a, b in zip(published[ours], alone[ours], strict=True)])
    their_share = milliseconds([a - b for a, b in zip(published[theirs], alone[theirs], strict=True)])
    rows = (
        Row(
            f"docker run -d -p {PORT}",
            mine,
            (("dockerd", others),),
            f"≤ {OF_DEBIANS} of Debian's Docker (≈ 0.5 of Docker 29)",
            mine.median / others.median,
            OF_DEBIANS,
        ),
        Row("docker run -d --network none", milliseconds(alone[ours]), (("dockerd", milliseconds(alone[theirs])),)),
        Row(
            "the network's share: the difference of the two",
            share,
            (("dockerd", their_share),),
            f"≤ {NETWORK_MS:.0f} ms",
            limit=NETWORK_MS,
        ),
        Row("of it, the docker client asking for the version only", milliseconds(asking)),
        Row(
            "docker rm -f of the running container (API)",
            milliseconds(removing[ours]),
            (("dockerd", milliseconds(removing[theirs])),),
        ),
    )
    return Section(
        "docker run",
        rows,
        "From the start of the docker client to its end, with the same client, the same one-layer image (a static "
        "busybox, which sleeps) and the default settings of both daemons, in turns. Each daemon runs in a test host of "
        "its own; nothing else runs in either.",
    )
