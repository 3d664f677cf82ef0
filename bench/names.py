"""Rows: how many names are answered a second, how fast under load, and what a name costs a start."""

from __future__ import annotations

import contextlib
import os
import re
import statistics
from collections import defaultdict
from pathlib import Path

from demo.console import Console

from bench.daemons import COMMAND, IMAGE, Daemon
from bench.place import settle
from bench.rows import TIMES, Row, Samples, Section, milliseconds

FASTER = 1.5
SHARE_MS = 3.0
NETWORK = "names"
NAMES = 20
RUNS = 5  # of the loads, which take seconds each
SECONDS, LOAD_SECONDS = 3, 2
SERVERS = {"linkspand": "linkspan-dns", "dockerd": "dockerd"}  # which process of a daemon's host answers
RATE = 10_000  # questions a second, which both answer with ease


def names(ours: Daemon, theirs: Daemon, console: Console, runs: int) -> Section:
    """In turns; questions come from inside a container's sandbox."""
    rates: dict[Daemon, list[float]] = defaultdict(list)
    work: dict[Daemon, list[float]] = defaultdict(list)
    typical: dict[Daemon, list[float]] = defaultdict(list)
    slow: dict[Daemon, list[float]] = defaultdict(list)
    shares: dict[Daemon, list[float]] = defaultdict(list)
    asking = {daemon: _containers(daemon) for daemon in (ours, theirs)}
    with console.working("answers a second"):
        for number in range(-1, min(runs, RUNS)):  # the first is to warm up
            for daemon in (ours, theirs):
                rate, spent = _rate(daemon, asking[daemon])
                latencies = _latencies(daemon, asking[daemon])
                if number >= 0:
                    rates[daemon].append(rate)
                    work[daemon].append(spent)
                    typical[daemon].append(statistics.median(latencies))
                    slow[daemon].append(statistics.quantiles(latencies, n=100)[98])
    with console.working("a start with names"):
        for number in range(-1, runs):
            for daemon in (ours, theirs):
                share = _share(daemon, number)
                if number >= 0:
                    shares[daemon].append(share)
    for daemon in (ours, theirs):
        daemon.clear()
        daemon.docker("network", "rm", NETWORK)
    mine, others = Samples(tuple(rates[ours]), "/s"), Samples(tuple(rates[theirs]), "/s")
    rows = (
        Row(
            "answers a second",
            mine,
            (("dockerd", others),),
            f"≥ {FASTER}{TIMES} Docker's",
            mine.median / others.median,
            FASTER,
            at_least=True,
        ),
        Row(
            "processor time of an answer",
            Samples(tuple(work[ours]), "µs"),
            (("dockerd", Samples(tuple(work[theirs]), "µs")),),
        ),
        Row(
            f"time of an answer at {RATE:,} questions a second, median",
            milliseconds(typical[ours]),
            (("dockerd", milliseconds(typical[theirs])),),
        ),
        Row(
            "the same, 99th percentile",
            milliseconds(slow[ours]),
            (("dockerd", milliseconds(slow[theirs])),),
        ),
        Row(
            "a start on a network with names, less one on the default bridge",
            milliseconds(shares[ours]),
            (("dockerd", milliseconds(shares[theirs])),),
            f"≤ {SHARE_MS:.0f} ms",
            limit=SHARE_MS,
        ),
    )
    return Section(
        "Names",
        rows,
        f"dnsperf in a container's network namespace asks 127.0.0.11 for {NAMES} names of another container, by UDP, "
        f"with up to 200 questions under way, for {SECONDS} s; then {RATE:,} a second for {LOAD_SECONDS} s, with each "
        f"answer's time. {RUNS} runs, in turns. It shares the two cores with the resolver. A start is "
        "POST /containers/…/start, one after the other, with the order changing.",
    )


def _containers(daemon: Daemon) -> str:
    """One container with many names, and one that asks: the process id of the latter, in the daemon's host."""
    daemon.docker("network", "create", NETWORK)
    flags = [word for number in range(NAMES) for word in ("--network-alias", f"name{number}")]
    daemon.docker("run", "-d", "--network", NETWORK, *flags, IMAGE, *COMMAND)
    _, id_ = daemon.docker("run", "-d", "--network", NETWORK, IMAGE, *COMMAND)
    (daemon.folder / "questions").write_text("".join(f"name{number} A\n" for number in range(NAMES)))
    return daemon.docker("inspect", "-f", "{{.State.Pid}}", id_)[1]


def _dnsperf(daemon: Daemon, pid: str, *flags: str) -> str:
    questions = str(daemon.folder / "questions")
    command = ["nsenter", f"--target={pid}", "--net", "dnsperf", "-s", "127.0.0.11", "-d", questions, *flags]
    done = daemon.host.run(command)
    if not re.search(r"Response codes:\s+NOERROR \d+ \(100\.00%\)", done.stdout):
        raise RuntimeError(f"{daemon.name}: not every name was answered:\n{done.stdout[-1000:]}")
    return done.stdout


def _rate(daemon: Daemon, pid: str) -> tuple[float, float]:
    """Answers a second, and microseconds of processor time that one takes whoever answers."""
    before = _processor(daemon)
    said = _dnsperf(daemon, pid, "-l", str(SECONDS), "-c", "8", "-q", "200")
    spent = _processor(daemon) - before
    rate = re.search(r"Queries per second:\s+([\d.]+)", said)
    count = re.search(r"Queries completed:\s+(\d+)", said)
    assert rate and count
    return float(rate[1]), spent / int(count[1]) * 1e6


def _processor(daemon: Daemon) -> float:
    """Seconds that the process that answers has had of the processors."""
    space = Path(f"/proc/{daemon.host.pid}/ns/pid").readlink()
    for path in Path("/proc").iterdir():
        with contextlib.suppress(OSError):  # it has ended meanwhile
            if path.name.isdigit() and (path / "ns/pid").readlink() == space:
                name, _, rest = (path / "stat").read_text().partition("(")[2].rpartition(")")
                if name == SERVERS[daemon.name]:
                    return sum(map(int, rest.split()[11:13])) / os.sysconf("SC_CLK_TCK")
    raise RuntimeError(f"{daemon.name}: no process {SERVERS[daemon.name]}")


def _latencies(daemon: Daemon, pid: str) -> list[float]:
    """Of each answer, in seconds."""
    said = _dnsperf(daemon, pid, "-l", str(LOAD_SECONDS), "-c", "8", "-Q", str(RATE), "-v")
    return [float(seconds) for seconds in re.findall(r"^> \S+ \S+ \S+ ([\d.]+)$", said, re.M)]


def _share(daemon: Daemon, number: int) -> float:
    """Seconds that a start takes longer on a network with names."""
    found: dict[str, float] = {}
    for network in ("default", NETWORK) if number % 2 else (NETWORK, "default"):
        id_ = daemon.create((), network)
        found[network] = daemon.run(id_)
        daemon.remove(id_)
        settle()
    return found[NETWORK] - found["default"]
