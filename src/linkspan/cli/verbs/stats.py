"""`stats`: what containers use. Shown once with --no-stream, else until interrupted."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from linkspan.cli import table, words
from linkspan.cli.client import Client
from linkspan.cli.failure import EngineError
from linkspan.cli.flags import Flag, Invocation, Verb, switch

HEADERS = {
    "Container": "CONTAINER", "ID": "CONTAINER ID", "Name": "NAME", "CPUPerc": "CPU %",
    "MemUsage": "MEM USAGE / LIMIT", "MemPerc": "MEM %", "NetIO": "NET I/O", "BlockIO": "BLOCK I/O", "PIDs": "PIDS",
}  # fmt: skip
COLUMNS = "{{.ID}}\t{{.Name}}\t{{.CPUPerc}}\t{{.MemUsage}}\t{{.MemPerc}}\t{{.NetIO}}\t{{.BlockIO}}\t{{.PIDs}}"
AT_ONCE = 8


def run(call: Invocation) -> int:
    line = call.line
    while True:
        names = call.arguments
        if not names:
            listed = call.client.get("/containers/json", {"all": line.on("all")})
            names = [container["Id"] for container in listed]
        with ThreadPoolExecutor(AT_ONCE) as pool:
            rows = list(pool.map(lambda name: _sample(call, name), names))
        text = table.write(rows, line.text("format") or table.configured_format("statsFormat"), COLUMNS, HEADERS)
        if line.on("no-stream"):
            print(text, end="")
            return 0
        print("\x1b[H\x1b[J" + text, end="", flush=True)


def _sample(call: Invocation, name: str) -> dict[str, Any]:
    # A connection of its own: the samples take a second each, and are taken side by side. (The daemon waits for two
    # readings between which it can tell the share of the processors.)
    try:
        sample = Client(call.client.address).get(f"/containers/{name}/stats", {"stream": "0"})
    except EngineError as error:
        if call.arguments:
            sys.stdout.flush()
            raise
        sample = {"id": name, "name": f"({error.reason})"}
    return row(sample, name, full=call.line.on("no-trunc"))


def row(sample: dict[str, Any], name: str, *, full: bool) -> dict[str, Any]:
    """One line of the table, from one sample in Docker's form."""
    memory = sample.get("memory_stats") or {}
    used, limit = _used(memory), memory.get("limit") or 0
    networks = (sample.get("networks") or {}).values()
    received, sent = (sum(network.get(key) or 0 for network in networks) for key in ("rx_bytes", "tx_bytes"))
    blocks = (sample.get("blkio_stats") or {}).get("io_service_bytes_recursive") or []
    read, written = (sum(i["value"] for i in blocks if i["op"].lower() == op) for op in ("read", "write"))
    identity = sample.get("id") or name
    return {
        "Container": name if full else words.short_id(name) if len(name) == 64 else name,
        "ID": identity if full else words.short_id(identity),
        "Name": (sample.get("name") or "--").removeprefix("/"),
        "CPUPerc": f"{_processor_share(sample):.2f}%",
        "MemUsage": f"{words.binary_size(used)} / {words.binary_size(limit)}",
        "MemPerc": f"{used / limit * 100 if limit else 0:.2f}%",
        "NetIO": f"{words.size(received, digits=3)} / {words.size(sent, digits=3)}",
        "BlockIO": f"{words.size(read, digits=3)} / {words.size(written, digits=3)}",
        "PIDs": str((sample.get("pids_stats") or {}).get("current") or 0),
    }


def _used(memory: dict[str, Any]) -> int:
    """Without the page cache that the kernel would give back first."""
    usage = int(memory.get("usage") or 0)
    details = memory.get("stats") or {}
    for key in ("total_inactive_file", "inactive_file"):
        if (value := details.get(key)) is not None and value < usage:
            return usage - int(value)
    return usage


def _processor_share(sample: dict[str, Any]) -> float:
    now, before = sample.get("cpu_stats") or {}, sample.get("precpu_stats") or {}
    used = (now.get("cpu_usage") or {}).get("total_usage", 0) - (before.get("cpu_usage") or {}).get("total_usage", 0)
    whole = (now.get("system_cpu_usage") or 0) - (before.get("system_cpu_usage") or 0)
    processors = now.get("online_cpus") or len((now.get("cpu_usage") or {}).get("percpu_usage") or [])
    return float(used / whole * processors * 100) if used > 0 and whole > 0 else 0.0


VERB = Verb(
    "[OPTIONS] [CONTAINER...]",
    "Show what containers use of processor, memory, network and disk.",
    run,
    (
        switch("all", "a", "Show all containers, not only those that run"),
        Flag("format", "", "string", "table, json, or a Go template ({{.CPUPerc}})"),
        switch("no-stream", "", "Show it once"),
        switch("no-trunc", "", "Do not shorten anything"),
    ),
)
