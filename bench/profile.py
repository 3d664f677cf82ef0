"""Where the time of one `docker run -d -p` goes inside our daemon, its monitor and runc."""

from __future__ import annotations

import json
import shutil
import statistics
import time
from collections import defaultdict
from dataclasses import dataclass

from demo.console import Console

from bench.daemons import COMMAND, IMAGE, linkspand
from bench.peers import Docker
from bench.place import Place

_RUNC = """#!/bin/sh
# runc with a stopwatch; two processes of date(1) are counted to whatever calls it.
start=$(date +%s%N)
{runc} "$@"
status=$?
for word; do case $word in create|delete|start|kill|state) verb=$word; break;; esac; done
echo "$start $(date +%s%N) runc $verb" >>{log}
exit $status
"""


@dataclass(frozen=True)
class Phase:
    """Milliseconds; `start` since the client was started."""

    name: str
    start: float
    end: float


def profile_run(place: Place, docker: Docker, console: Console, runs: int) -> None:
    """Prints two tables: the phases of a run and of its removal, and the same with a stopwatch around runc."""
    for title, wrapped in (("", False), (", with a stopwatch around runc (which adds some 3 ms to each call)", True)):
        with console.working("profiling"):
            rounds, totals, removals = _rounds(place, docker, runs, wrapped)
        console.heading(f"docker run -d -p 20080:80{title}: {statistics.median(totals):.1f} ms (median of {runs})")
        console.line("   start      took   phase (milliseconds; start is counted from the start of the client)")
        for line in _table(rounds):
            console.line(line)
        console.line(f"  removal by the API: {statistics.median(removals):.1f} ms")


def _rounds(
    place: Place, docker: Docker, runs: int, wrapped: bool
) -> tuple[list[list[Phase]], list[float], list[float]]:
    name = "wrapped" if wrapped else "traced"
    own = place.folder_for(f"{name}-log")
    trace, runc_log, paths = own / "trace", own / "runc", []
    trace.touch()
    runc_log.touch()
    if wrapped:
        script = place.folder_for(f"{name}-bin") / "runc"
        script.write_text(_RUNC.format(runc=shutil.which("runc") or "/usr/sbin/runc", log=runc_log))
        script.chmod(0o755)
        paths = [str(script.parent)]
    daemon = linkspand(place, docker, name=name, traced=trace, paths=paths)
    daemon.start()
    daemon.load_image()
    rounds, totals, removals = [], [], []
    for number in range(-2, runs):
        trace.write_text("")
        runc_log.write_text("")
        offset = time.time() - time.monotonic()
        began = time.monotonic()
        seconds, id_ = daemon.docker("run", "-d", "-p", "20080:80", IMAGE, *COMMAND)
        removed = daemon.remove(id_)
        if number < 0:
            continue
        phases = [
            Phase(name, (start - began) * 1000, (end - began) * 1000)
            for name, start, end in map(json.loads, trace.read_text().splitlines())
        ]
        for line in runc_log.read_text().splitlines():
            start, end, what = line.split(" ", 2)
            times = [(int(x) / 1e9 - offset - began) * 1000 for x in (start, end)]
            phases.append(Phase(what, times[0], times[1]))
        phases.append(Phase("docker (client)", 0.0, seconds * 1000))
        rounds.append(phases)
        totals.append(seconds * 1000)
        removals.append(removed * 1000)
    daemon.stop()
    place.end_host(daemon.host)
    return rounds, totals, removals


def _table(rounds: list[list[Phase]]) -> list[str]:
    """A line a phase in the order of time, each occurrence of a name by itself, indented by what surrounds it."""
    found: dict[tuple[str, int], list[Phase]] = defaultdict(list)
    for phases in rounds:
        seen: dict[str, int] = defaultdict(int)
        for phase in sorted(phases, key=lambda p: p.start):
            found[phase.name, seen[phase.name]].append(phase)
            seen[phase.name] += 1
    medians = [
        Phase(name, statistics.median(p.start for p in each), statistics.median(p.end for p in each))
        for (name, _), each in found.items()
        if len(each) * 2 > len(rounds)
    ]
    lines: list[str] = []
    open_: list[Phase] = []
    for phase in sorted(medians, key=lambda p: (p.start, -p.end)):
        while open_ and phase.start >= open_[-1].end:
            open_.pop()
        lines.append(f"{phase.start:8.1f}  {phase.end - phase.start:8.2f}   {'  ' * len(open_)}{phase.name}")
        open_.append(phase)
    return lines
