"""RESULTS.md: the rows as tables, what was measured, where the time goes, and the machine it was measured on."""

from __future__ import annotations

import datetime
import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.rows import TIMES, Row, Samples, Section, figure

RESULTS = Path(__file__).parent / "RESULTS.md"
_VERDICT = {True: "met", False: "**missed**", None: ""}


def write(sections: Sequence[Section], runs: int, versions: Mapping[str, str], path: Path = RESULTS) -> None:
    path.write_text(text(sections, runs, versions))


def text(sections: Sequence[Section], runs: int, versions: Mapping[str, str]) -> str:
    held = [row for section in sections for row in section.rows if row.met is not None]
    missed = [row.what for row in held if not row.met]
    verdict = f"{len(held) - len(missed)} of {len(held)} budgets met"
    parts = [
        "# Results",
        "",
        f"Written by `sudo make bench`: {verdict}. Medians of {runs} runs unless a row says otherwise; in brackets the "
        f"middle half of the runs. Peers are measured in the same run, in turns with linkspan; “{TIMES}” is the peer's "
        "median over ours.",
        "",
        *machine(versions),
    ]
    for section in sections:
        parts += ["", f"## {section.title}", "", *_table(section.rows), "", section.measured]
        if section.phases:
            parts += ["", "Where the time goes (medians, ms):", ""]
            parts += [
                f"- {name}: " + ", ".join(f"{phase} {value:.2f}" for phase, value in phases)
                for name, phases in section.phases
                if phases
            ]
    return "\n".join(parts) + "\n"


def _table(rows: Sequence[Row]) -> list[str]:
    lines = [f"| what | linkspan | peers | {TIMES} | budget | |", "|---|---|---|---|---|---|"]
    for row in rows:
        peers = "; ".join(f"{name} {cell(samples)}" for name, samples in row.peers)
        ratios = ", ".join(row.ratios)
        budget = row.budget + (f" (is {figure(row.measured)})" if row.measured is not None else "")
        lines.append(f"| {row.what} | {cell(row.ours)} | {peers} | {ratios} | {budget} | {_VERDICT[row.met]} |")
    return lines


def cell(samples: Samples) -> str:
    """The median, and the middle half of the samples."""
    return f"{samples} [{samples.spread}]" if len(samples.values) > 1 else str(samples)


def machine(versions: Mapping[str, str]) -> list[str]:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    load = f"{os.getloadavg()[0]:.1f}"
    return [
        "| | |",
        "|---|---|",
        f"| date | {datetime.datetime.now(datetime.UTC):%Y-%m-%d %H:%M} UTC |",
        f"| machine | {os.cpu_count()} cores ({model}), {memory:.0f} GiB, load {load} at the end |",
        f"| kernel | {platform.release().partition('-')[0]} {platform.machine()} |",
        f"| system | {_system()} |",
        f"| versions | {', '.join(f'{name} {version}' for name, version in versions.items())} |",
    ]


def _system() -> str:
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        return platform.system()
