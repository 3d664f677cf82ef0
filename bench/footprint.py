"""Rows: memory of the daemons, idle and for each running container, and how long they take to start."""

from __future__ import annotations

from demo.console import Console

from bench import memory
from bench.daemons import Daemon
from bench.rows import Row, Samples, Section, milliseconds

IDLE_MB = 70.0
CONTAINER_MB = 3.0
CONTAINERS = 20
MB = 1e6


def footprint(ours: Daemon, theirs: Daemon, console: Console, runs: int) -> Section:
    """Restarts both daemons, so that nothing of earlier measurements counts."""
    idle: dict[Daemon, memory.Held] = {}
    busy: dict[Daemon, memory.Held] = {}
    started: dict[Daemon, list[float]] = {}
    restarted: list[float] = []
    for daemon in (ours, theirs):
        with console.working(f"{daemon.name}: memory of {CONTAINERS} containers"):
            started[daemon] = []
            for _ in range(min(runs, 5)):
                daemon.stop()
                started[daemon].append(daemon.start())
            idle[daemon] = memory.held(daemon.host)
            for number in range(CONTAINERS):
                daemon.run(daemon.create([20000 + number]))
            busy[daemon] = memory.held(daemon.host)
    for _ in range(min(runs, 5)):
        ours.stop()
        restarted.append(ours.start())
    for daemon in (ours, theirs):
        daemon.clear()
    mine, others = idle[ours], idle[theirs]
    rows = (
        Row(
            "idle (PSS)",
            _megabytes(mine.total),
            ((_names(others), _megabytes(others.total)),),
            f"≤ {IDLE_MB:.0f} MB",
            limit=IDLE_MB,
        ),
        Row("idle (RSS)", _megabytes(mine.total_rss), ((_names(others), _megabytes(others.total_rss)),)),
        Row(
            "for each running container with one port (PSS)",
            _megabytes((busy[ours].total - mine.total) / CONTAINERS),
            ((_names(busy[theirs]), _megabytes((busy[theirs].total - others.total) / CONTAINERS)),),
            f"≤ {CONTAINER_MB:.0f} MB",
            limit=CONTAINER_MB,
        ),
        Row(
            "the same (RSS)",
            _megabytes((busy[ours].total_rss - mine.total_rss) / CONTAINERS),
            (("dockerd", _megabytes((busy[theirs].total_rss - others.total_rss) / CONTAINERS)),),
        ),
        Row("start of the daemon", milliseconds(started[ours]), (("dockerd", milliseconds(started[theirs])),)),
        Row(f"start of the daemon with {CONTAINERS} containers running", milliseconds(restarted)),
    )
    return Section(
        "Memory",
        rows,
        "Every process of the daemon's host but the containers' own, from smaps_rollup; PSS shares the pages of "
        "libraries with other programs that run, RSS does not. Idle: the daemon just started, "
        f"with one image in its store. With {CONTAINERS} containers, one port each. linkspand: "
        f"{_counts(busy[ours])}; dockerd: {_counts(busy[theirs])}.",
    )


def _megabytes(value: float) -> Samples:
    return Samples((value / MB,), "MB")


def _names(held: memory.Held) -> str:
    return " + ".join(sorted(held.pss, key=lambda name: -held.pss[name]))


def _counts(held: memory.Held) -> str:
    return ", ".join(
        f"{count} {name} {held.pss[name] / MB:.1f} MB"
        for name, count in sorted(held.processes.items(), key=lambda item: -held.pss[item[0]])
    )
