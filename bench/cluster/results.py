"""RESULTS-CLUSTER.md: every way in a row, and what it was measured on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.results import cell, machine
from bench.rows import Samples, figure

RESULTS = Path(__file__).parent.parent / "RESULTS-CLUSTER.md"


@dataclass(frozen=True)
class Measured:
    """One way: throughput, round trips, processors' time per byte; `lacking` says why it was not measured."""

    name: str
    columns: tuple[Samples, Samples, Samples] | None = None
    lacking: str = ""


def text(measured: Sequence[Measured], more: Sequence[str], runs: int, versions: Mapping[str, str]) -> str:
    base = next((one.columns for one in measured if one.name == "host"), None)
    parts = [
        "# Results: many hosts",
        "",
        f"Written by `sudo make bench-cluster`. Medians of {runs} runs, in turns; in brackets the middle half of the "
        "runs, and what each is of the hosts' own.",
        "",
        *machine(versions),
        "",
        "## From one container to another",
        "",
        "| way | TCP, one connection | | round trip | | processors per byte | |",
        "|---|---|---|---|---|---|---|",
    ]
    for one in measured:
        if one.columns is None:
            parts.append(f"| {one.name} | not here: {one.lacking} | | | | | |")
            continue
        cells = [
            f"{cell(samples)} | {figure(samples.median / base[number].median) if base else ''}"
            for number, samples in enumerate(one.columns)
        ]
        parts.append(f"| {one.name} | {' | '.join(cells)} |")
    parts += [
        "",
        "Three test hosts on one machine, joined by veth pairs on a bridge: no wire and no network card is in the way, "
        "so a packet costs what its copies, encapsulations and lookups cost, and both ends share the processors. "
        "Throughput: iperf3, two seconds. Round trip: sockperf, 64 bytes by TCP, the median of a second. Processors "
        "per byte: the time that all processors of the machine worked during iperf3's run, by the bytes received.",
        *more,
    ]
    return "\n".join(parts) + "\n"
