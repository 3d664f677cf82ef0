"""A container's use of the machine, in the numbers and shapes of Docker's /stats: from cgroup files, v1 or v2."""

from __future__ import annotations

import datetime
import os
import time
from pathlib import Path
from typing import Any

from linkspan.runtime.cgroups import Hierarchy, keyed, mounted

_TICK = 10**9 // os.sysconf("SC_CLK_TCK")  # nanoseconds


def sample(path: str, *, hierarchy: Hierarchy | None = None) -> dict[str, Any]:
    """One sample of the group `path`, without `precpu_stats` and `networks`, which belong to the daemon.

    Where the group is not there (the container does not run) the numbers are missing or 0, as Docker's. Bytes,
    nanoseconds.
    """
    hierarchy = hierarchy or mounted()
    now = time.time_ns()
    read = _sample_v1 if hierarchy.version == 1 else _sample_v2
    stamp = datetime.datetime.fromtimestamp(now // 10**9, datetime.UTC)
    return {
        "read": f"{stamp:%Y-%m-%dT%H:%M:%S}.{now % 10**9:09d}Z",
        "num_procs": 0,
        "storage_stats": {},
        **read(hierarchy, path),
    }


def _sample_v1(hierarchy: Hierarchy, path: str) -> dict[str, Any]:
    cpuacct, cpu, memory, blkio, pids = (
        hierarchy.controllers.get(name, Path("/nonexistent")) / path.lstrip("/")
        for name in ("cpuacct", "cpu", "memory", "blkio", "pids")
    )
    if not cpuacct.exists():
        return _NOTHING
    ticks, throttled = keyed(cpuacct / "cpuacct.stat"), keyed(cpu / "cpu.stat")
    usage = {
        "total_usage": _number(cpuacct / "cpuacct.usage"),
        "percpu_usage": [int(value) for value in _text(cpuacct / "cpuacct.usage_percpu").split()],
        "usage_in_kernelmode": ticks.get("system", 0) * _TICK,
        "usage_in_usermode": ticks.get("user", 0) * _TICK,
    }
    return {
        "cpu_stats": _cpu(usage, throttled, throttled.get("throttled_time", 0)),
        "memory_stats": {
            "usage": _number(memory / "memory.usage_in_bytes"),
            "max_usage": _number(memory / "memory.max_usage_in_bytes"),
            "stats": keyed(memory / "memory.stat"),
            "failcnt": _number(memory / "memory.failcnt"),
            "limit": min(_number(memory / "memory.limit_in_bytes") or _total_memory(), _total_memory()),
        },
        "blkio_stats": _blkio(
            _throttle(_text(blkio / "blkio.throttle.io_service_bytes_recursive")),
            _throttle(_text(blkio / "blkio.throttle.io_serviced_recursive")),
        ),
        "pids_stats": _pids(pids),
    }


def _sample_v2(hierarchy: Hierarchy, path: str) -> dict[str, Any]:
    group = (hierarchy.unified or Path("/nonexistent")) / path.lstrip("/")
    if not group.exists():
        return _NOTHING
    cpu = keyed(group / "cpu.stat")
    usage = {
        "total_usage": cpu.get("usage_usec", 0) * 1000,
        "usage_in_kernelmode": cpu.get("system_usec", 0) * 1000,
        "usage_in_usermode": cpu.get("user_usec", 0) * 1000,
    }
    octets, operations = _io_stat(_text(group / "io.stat"))
    return {
        "cpu_stats": _cpu(usage, cpu, cpu.get("throttled_usec", 0) * 1000),
        "memory_stats": {
            "usage": _number(group / "memory.current"),
            "stats": keyed(group / "memory.stat"),
            "limit": min(_number(group / "memory.max") or _total_memory(), _total_memory()),
        },
        "blkio_stats": _blkio(octets, operations),
        "pids_stats": _pids(group),
    }


_NOTHING: dict[str, Any] = {
    "cpu_stats": {
        "cpu_usage": {"total_usage": 0, "usage_in_kernelmode": 0, "usage_in_usermode": 0},
        "throttling_data": {"periods": 0, "throttled_periods": 0, "throttled_time": 0},
    },
    "memory_stats": {},
    "blkio_stats": dict.fromkeys(
        (
            "io_service_bytes_recursive",
            "io_serviced_recursive",
            "io_queue_recursive",
            "io_service_time_recursive",
            "io_wait_time_recursive",
            "io_merged_recursive",
            "io_time_recursive",
            "sectors_recursive",
        )
    ),
    "pids_stats": {},
}


def _cpu(usage: dict[str, Any], counters: dict[str, int], throttled_time: int) -> dict[str, Any]:
    return {
        "cpu_usage": usage,
        "system_cpu_usage": _system_cpu(),
        "online_cpus": os.sysconf("SC_NPROCESSORS_ONLN"),
        "throttling_data": {
            "periods": counters.get("nr_periods", 0),
            "throttled_periods": counters.get("nr_throttled", 0),
            "throttled_time": throttled_time,
        },
    }


def _system_cpu() -> int:
    """What all CPUs spent since boot: user, nice, system, idle, iowait, irq, softirq, as Docker counts it."""
    first = _text(Path("/proc/stat")).partition("\n")[0].split()
    return sum(int(value) for value in first[1:8]) * _TICK


def _blkio(octets: list[dict[str, Any]], operations: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        **_NOTHING["blkio_stats"],
        "io_service_bytes_recursive": octets,
        "io_serviced_recursive": operations,
    }


def _throttle(text: str) -> list[dict[str, Any]]:
    """Lines `major:minor Operation count`, and a last one `Total count`, which is left out."""
    entries = []
    for line in text.splitlines():
        fields = line.split()
        if len(fields) == 3:
            major, _, minor = fields[0].partition(":")
            entries.append({"major": int(major), "minor": int(minor), "op": fields[1].lower(), "value": int(fields[2])})
    return entries


def _io_stat(text: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """(bytes, operations) from lines `major:minor rbytes=… wbytes=… rios=… wios=… …`."""
    octets: list[dict[str, Any]] = []
    operations: list[dict[str, Any]] = []
    for line in text.splitlines():
        device, *pairs = line.split()
        major, _, minor = device.partition(":")
        values = dict(pair.partition("=")[::2] for pair in pairs)
        for entries, key, op in (
            (octets, "rbytes", "read"),
            (octets, "wbytes", "write"),
            (operations, "rios", "read"),
            (operations, "wios", "write"),
        ):
            if key in values and major.isdigit():
                entries.append({"major": int(major), "minor": int(minor), "op": op, "value": int(values[key])})
    return octets, operations


def _pids(group: Path) -> dict[str, int]:
    result = {"current": _number(group / "pids.current")}
    if limit := _number(group / "pids.max"):
        result["limit"] = limit
    else:
        result["limit"] = 2**64 - 1  # Docker's "none"
    return result


def _total_memory() -> int:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _number(path: Path) -> int:
    """0 also for "max"."""
    text = _text(path).strip()
    return int(text) if text.isdigit() else 0


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
