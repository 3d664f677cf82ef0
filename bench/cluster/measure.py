"""Throughput, round trips and the processors' time, by iperf3 and sockperf."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from bench.cluster.ways import PING, STREAM, Ends

SECONDS = 2


def throughput(ends: Ends) -> tuple[float, float]:
    """One TCP connection: Gbit/s, and the nanoseconds of all processors that a byte cost (both ends are here)."""
    with subprocess.Popen(
        [*in_space(ends.server), "iperf3", "-s", "-1", "-p", str(STREAM)], stdout=subprocess.DEVNULL
    ) as server:
        try:
            listens(ends.server, STREAM)
            before = _busy()
            said = output(
                [*in_space(ends.client), "iperf3", "-c", ends.address, "-p", str(STREAM), "-t", str(SECONDS), "-J"]
            )
            used = _busy() - before
        finally:
            server.kill()
    received = json.loads(said)["end"]["sum_received"]
    return received["bits_per_second"] / 1e9, used / received["bytes"] * 1e9


def round_trip(ends: Ends) -> float:
    """Microseconds that 64 bytes of TCP take there and back: the median of a second of them, one at a time."""
    options = ["-p", str(PING), "--tcp"]
    command = [*in_space(ends.server), "sockperf", "server", "-i", "0.0.0.0", *options]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            listens(ends.server, PING)
            said = output(
                [
                    *in_space(ends.client),
                    "sockperf",
                    "ping-pong",
                    "-i",
                    ends.address,
                    *options,
                    "-m",
                    "64",
                    "-t",
                    "1",
                    "--full-rtt",
                ]
            )
        finally:
            server.kill()
    found = re.search(r"percentile 50\.000 =\s*([\d.]+)", said)
    if found is None:
        raise RuntimeError(f"sockperf: {said[-500:]}")
    return float(found[1])


def in_space(space: str) -> Sequence[str]:
    return ["nsenter", f"--net={space}", "--"]


def output(command: Sequence[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command[3:])}: {(done.stderr + done.stdout).strip()[-500:]}")
    return done.stdout


def listens(space: str, port: int) -> None:
    deadline = time.monotonic() + 5
    while f":{port} " not in output([*in_space(space), "ss", "-Htln"]):
        if time.monotonic() > deadline:
            raise RuntimeError(f"nothing listens on port {port}")
        time.sleep(0.02)


def _busy() -> float:
    """Seconds that the machine's processors have worked."""
    fields = Path("/proc/stat").read_text().splitlines()[0].split()[1:]
    user, nice, system, _, _, irq, softirq = map(int, fields[:7])
    return (user + nice + system + irq + softirq) / 100
