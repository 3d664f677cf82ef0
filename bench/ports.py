"""Rows: a thousand ports at once, and what a published port holds of memory."""

from __future__ import annotations

from demo.console import Console

from bench import memory
from bench.daemons import Daemon, dockerd
from bench.engine import phases
from bench.peers import Docker
from bench.place import Place
from bench.rows import Row, Samples, Section, milliseconds

MANY, FEWER = 1_000, 100
CONTAINERS = 5  # of a thousand ports each, for the memory of one: what deciding needs for a while then counts less
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
        # Before the daemon has ever held so many: what it allocated once, it would not allocate again.
        per_port, processes = _per_port(ours, MANY, CONTAINERS)
        many = milliseconds([_start(ours, MANY) for _ in range(runs)])
        fewer = milliseconds([_start(ours, FEWER) for _ in range(runs)])
    peers: dict[str, tuple[Samples, float, int]] = {}
    for name, flags in (("dockerd", ()), ("dockerd --userland-proxy=false", ("--userland-proxy=false",))):
        with console.working(f"{name}: {FEWER} ports"):
            daemon = dockerd(place, docker, name="proxies" if not flags else "no-proxies", flags=flags)
            daemon.start()
            daemon.load_image()
            _start(daemon, 1)
            started = milliseconds([_start(daemon, FEWER) for _ in range(min(runs, DOCKER_RUNS))])
            peers[name] = (started, *_per_port(daemon, FEWER))
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
            Samples((per_port,), "B"),
            tuple((name, Samples((held,), "B")) for name, (_, held, _) in peers.items()),
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
        "measures. Memory is the proportional set size of every process of the daemon's host with the container "
        f"running ({CONTAINERS} of them for linkspan), less that with one port each, by port. Kernel memory is not in "
        "it, with any of them.",
        (("engine", phases(attached)),),
    )


def _start(daemon: Daemon, count: int) -> float:
    id_ = daemon.create(range(FIRST, FIRST + count))
    seconds = daemon.run(id_)
    daemon.remove(id_)
    return seconds


def _per_port(daemon: Daemon, count: int, containers: int = 1) -> tuple[float, int]:
    """Bytes for each port, and processes for all of one container's, beyond what containers with one port have."""
    found = []
    for published in (1, count):
        ids = [daemon.create(range(FIRST + n * count, FIRST + n * count + published)) for n in range(containers)]
        for id_ in ids:
            daemon.run(id_)
        found.append(memory.held(daemon.host))
        for id_ in ids:
            daemon.remove(id_)
    few, many = found
    return (many.total - few.total) / (count - 1) / containers, (many.count - few.count) // containers
