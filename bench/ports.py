"""Rows: a thousand ports at once, and what a published port holds of memory."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from itertools import pairwise

from demo.console import Console

from bench import memory
from bench.daemons import Daemon, dockerd
from bench.engine import phases
from bench.peers import Docker
from bench.place import Place
from bench.rows import Row, Samples, Section, milliseconds

MANY, FEWER = 1_000, 100
CONTAINERS = 8  # for the memory of one port: each is a step up, and their median is told
FIRST = 20_000
LIMIT_MS = 150.0
LIMIT_BYTES = 1024.0
DOCKER_RUNS = 3  # it takes seconds


def ports(place: Place, docker: Docker, ours: Daemon, console: Console, runs: int) -> Section:
    engine_host, engine = place.worker("bench.attach_linkspan", "many")
    engine.call("attach", ports=[10000])
    attached = []
    with console.working(f"{MANY:,} ports"):
        for number in range(-1, runs):
            done = engine.call("attach", ports=list(range(FIRST, FIRST + MANY)))
            engine.call("detach", id=done["id"])
            if number >= 0:
                attached.append(done)
        place.end_host(engine_host)
        per_port, processes = _per_port(ours, MANY, CONTAINERS)
        many = milliseconds([_start(ours, MANY) for _ in range(runs)])
        fewer = milliseconds([_start(ours, FEWER) for _ in range(runs)])
    peers: dict[str, tuple[Samples, Samples, float]] = {}
    for name, flags in (("dockerd", ()), ("dockerd --userland-proxy=false", ("--userland-proxy=false",))):
        with console.working(f"{name}: {FEWER} ports"):
            daemon = dockerd(place, docker, name="proxies" if not flags else "no-proxies", flags=flags)
            daemon.start()
            daemon.load_image()
            _start(daemon, 1)
            started = milliseconds([_start(daemon, FEWER) for _ in range(min(runs, DOCKER_RUNS))])
            peers[name] = (started, *_per_port(daemon, FEWER, DOCKER_RUNS))
            daemon.stop()
            place.end_host(daemon.host)
    rows = (
        Row(
            f"{MANY:,} ports, engine",
            milliseconds([one["seconds"] for one in attached]),
            budget=f"≤ {LIMIT_MS:.0f} ms",
            limit=LIMIT_MS,
        ),
        Row(f"{MANY:,} ports, POST /containers/…/start", many),
        Row(
            f"{FEWER} ports, POST /containers/…/start",
            fewer,
            tuple((name, started) for name, (started, _, _) in peers.items()),
        ),
        Row(
            "memory of a published port",
            per_port,
            tuple((name, held) for name, (_, held, _) in peers.items()),
            "< 1 KiB",
            limit=LIMIT_BYTES,
        ),
        Row(
            f"processes for {FEWER} ports",
            Samples((processes * FEWER / MANY,), ""),
            tuple((name, Samples((count,), "")) for name, (_, _, count) in peers.items()),
            "none",
            limit=0,
        ),
    )
    return Section(
        "Many ports at once",
        rows,
        f"One container with {MANY:,} single ports (`-p {FIRST}-{FIRST + MANY - 1}:{FIRST}-{FIRST + MANY - 1}` of the "
        f"client), from the API, against {FEWER} with dockerd, {DOCKER_RUNS} runs. “Engine” is what the first table "
        "measures. Memory is that of every process of the daemon's host, without what is a file's: how much more of "
        f"it there is with one more such container running, less that of one with a single port, by port; {CONTAINERS} "
        f"of them one after the other, {DOCKER_RUNS} with dockerd. Kernel memory is not in it, with any of them.",
        (("engine", phases(attached)),),
    )


def _start(daemon: Daemon, count: int) -> float:
    id_ = daemon.create(range(FIRST, FIRST + count))
    seconds = daemon.run(id_)
    daemon.remove(id_)
    return seconds


def _per_port(daemon: Daemon, count: int, containers: int) -> tuple[Samples, float]:
    """Bytes for each port, and processes for `count` of them, beyond what a container with one port has.

    Containers come one after the other and stay, first those with one port each: a step up is what one of them holds.
    A daemon that is just started, and has had such a container before: its memory grows by what is held, not by what
    it needs for a moment.
    """
    daemon.stop()
    daemon.start()
    daemon.remove(_started(daemon, range(FIRST, FIRST + count)))
    steps: dict[int, list[memory.Held]] = {}
    for published in (1, count):
        steps[published] = [memory.held(daemon.host)]
        ids = []
        for number in range(containers):
            first = FIRST + number * count
            ids.append(_started(daemon, range(first, first + published)))
            steps[published].append(memory.held(daemon.host))
        for id_ in ids:
            daemon.remove(id_)
    one = statistics.median(after.anonymous - before.anonymous for before, after in pairwise(steps[1]))
    grown = [after.anonymous - before.anonymous - one for before, after in pairwise(steps[count])]
    processes = [held[-1].count - held[0].count for held in (steps[1], steps[count])]
    return Samples(tuple(step / (count - 1) for step in grown), "B"), (processes[1] - processes[0]) / containers


def _started(daemon: Daemon, ports: Sequence[int]) -> str:
    id_ = daemon.create(ports)
    daemon.run(id_)
    return id_
