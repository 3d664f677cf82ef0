"""Rows: `docker run -d` until it returns, with the same docker client against linkspand and against dockerd."""

from __future__ import annotations

from collections import defaultdict

from demo.console import Console

from bench.daemons import COMMAND, IMAGE, Daemon
from bench.place import TIDYING, settle
from bench.rows import Row, Section, milliseconds

OF_DEBIANS = 0.3  # of Debian's time, which is about half of Docker 29's
NETWORK_MS = 5.0
PORT = "20080:80"


def running(ours: Daemon, theirs: Daemon, console: Console, runs: int) -> Section:
    """In turns; a container is removed before the next, which is not timed."""
    published: dict[Daemon, list[float]] = defaultdict(list)
    alone: dict[Daemon, list[float]] = defaultdict(list)
    removing: dict[Daemon, list[float]] = defaultdict(list)
    shares: dict[Daemon, list[float]] = defaultdict(list)
    asking: list[float] = []
    with console.working("docker run"):
        for number in range(-1, runs):  # the first is to warm up
            for daemon in (ours, theirs):
                first, id_ = daemon.docker("run", "-d", "-p", PORT, IMAGE, *COMMAND)
                removed = _remove(daemon, id_)
                second, id_ = daemon.docker("run", "-d", "--network", "none", IMAGE, *COMMAND)
                _remove(daemon, id_)
                share = _share(daemon, number)
                if number >= 0:
                    published[daemon].append(first)
                    alone[daemon].append(second)
                    removing[daemon].append(removed)
                    shares[daemon].append(share)
            asked, _ = ours.docker("version", "--format", "{{.Server.Version}}")
            if number >= 0:
                asking.append(asked)
    mine, others = milliseconds(published[ours]), milliseconds(published[theirs])
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
            "the network's share of POST /containers/…/start: bridge and port, less none",
            milliseconds(shares[ours]),
            (("dockerd", milliseconds(shares[theirs])),),
            f"≤ {NETWORK_MS:.0f} ms",
            limit=NETWORK_MS,
        ),
        Row("docker version: what the client alone takes", milliseconds(asking)),
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
        f"its own; nothing else runs in either, and after each removal the kernel gets {TIDYING} s to tidy up. The "
        "network's share is the difference of two starts through the API, one after the other, with the order "
        "changing, as the client's own time varies more than that.",
    )


def _share(daemon: Daemon, number: int) -> float:
    """Seconds that a start takes longer with a bridge and a port."""
    found: dict[str, float] = {}
    for network in ("default", "none") if number % 2 else ("none", "default"):
        id_ = daemon.create([20080] if network == "default" else (), network)
        found[network] = daemon.run(id_)
        _remove(daemon, id_)
    return found["default"] - found["none"]


def _remove(daemon: Daemon, id_: str) -> float:
    seconds = daemon.remove(id_)
    settle()
    return seconds
