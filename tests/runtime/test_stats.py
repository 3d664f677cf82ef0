"""Numbers from cgroup files, in Docker's shape; ps output cut to a container's processes."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from linkspan.errors import Internal, InvalidArgument
from linkspan.runtime import cgroups
from linkspan.runtime.cgroups import Hierarchy
from linkspan.runtime.stats import sample
from linkspan.runtime.top import parse, top

V1 = {
    "cpuacct/cpuacct.usage": "5000000000",
    "cpuacct/cpuacct.usage_percpu": "2000000000 3000000000 ",
    "cpuacct/cpuacct.stat": "user 100\nsystem 50\n",
    "cpu/cpu.stat": "nr_periods 7\nnr_throttled 2\nthrottled_time 12345\n",
    "memory/memory.usage_in_bytes": "4096000",
    "memory/memory.max_usage_in_bytes": "8192000",
    "memory/memory.limit_in_bytes": "67108864",
    "memory/memory.failcnt": "3",
    "memory/memory.stat": "cache 4096\ntotal_inactive_file 1024\n",
    "blkio/blkio.throttle.io_service_bytes_recursive": "254:0 Read 100\n254:0 Write 200\n254:0 Total 300\nTotal 300\n",
    "blkio/blkio.throttle.io_serviced_recursive": "254:0 Read 1\n254:0 Write 2\nTotal 3\n",
    "pids/pids.current": "4",
    "pids/pids.max": "50",
}
V2 = {
    "cpu.stat": "usage_usec 5000\nuser_usec 3000\nsystem_usec 2000\nnr_periods 7\nnr_throttled 2\nthrottled_usec 9\n",
    "memory.current": "4096000",
    "memory.max": "max",
    "memory.stat": "anon 4096\ninactive_file 1024\n",
    "io.stat": "254:0 rbytes=100 wbytes=200 rios=1 wios=2 dbytes=0 dios=0\n",
    "pids.current": "4",
    "pids.max": "max",
}


def write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_version_1(tmp_path: Path) -> None:
    write(tmp_path, {name.replace("/", "/box/a/"): text for name, text in V1.items()})
    names = ("cpuacct", "cpu", "memory", "blkio", "pids")
    value = sample("/box/a", hierarchy=Hierarchy({name: tmp_path / name for name in names}, None))
    tick = 10**9 // os.sysconf("SC_CLK_TCK")
    assert value["cpu_stats"]["cpu_usage"] == {
        "total_usage": 5_000_000_000,
        "percpu_usage": [2_000_000_000, 3_000_000_000],
        "usage_in_kernelmode": 50 * tick,
        "usage_in_usermode": 100 * tick,
    }
    assert value["cpu_stats"]["throttling_data"] == {"periods": 7, "throttled_periods": 2, "throttled_time": 12345}
    assert value["cpu_stats"]["system_cpu_usage"] > 0 and value["cpu_stats"]["online_cpus"] > 0
    assert value["memory_stats"] == {
        "usage": 4096000,
        "max_usage": 8192000,
        "limit": 67108864,
        "failcnt": 3,
        "stats": {"cache": 4096, "total_inactive_file": 1024},
    }
    assert value["blkio_stats"]["io_service_bytes_recursive"] == [
        {"major": 254, "minor": 0, "op": "read", "value": 100},
        {"major": 254, "minor": 0, "op": "write", "value": 200},
        {"major": 254, "minor": 0, "op": "total", "value": 300},
    ]
    assert value["pids_stats"] == {"current": 4, "limit": 50}
    assert value["num_procs"] == 0 and value["storage_stats"] == {} and value["read"].endswith("Z")


def test_version_2(tmp_path: Path) -> None:
    write(tmp_path / "box", V2)
    value = sample("/box", hierarchy=Hierarchy({}, tmp_path))
    assert value["cpu_stats"]["cpu_usage"] == {
        "total_usage": 5_000_000,
        "usage_in_kernelmode": 2_000_000,
        "usage_in_usermode": 3_000_000,
    }
    assert value["cpu_stats"]["throttling_data"]["throttled_time"] == 9000
    assert value["memory_stats"]["limit"] == os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert value["memory_stats"]["stats"] == {"anon": 4096, "inactive_file": 1024}
    assert [entry["value"] for entry in value["blkio_stats"]["io_service_bytes_recursive"]] == [100, 200]
    assert value["pids_stats"] == {"current": 4, "limit": 2**64 - 1}


def test_container_that_does_not_run(tmp_path: Path) -> None:
    for hierarchy in (Hierarchy({}, tmp_path), Hierarchy({"cpuacct": tmp_path}, None)):
        value = sample("/gone", hierarchy=hierarchy)
        assert value["cpu_stats"]["cpu_usage"]["total_usage"] == 0
        assert value["memory_stats"] == {} and value["pids_stats"] == {}


def test_mounts_of_each_form() -> None:
    v1 = "30 20 0:26 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid - cgroup cgroup rw,cpu,cpuacct\n"
    named = "31 20 0:27 / /sys/fs/cgroup/systemd rw shared:1 - cgroup cgroup rw,name=systemd\n"
    v2 = "32 20 0:28 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
    hybrid = cgroups.parse(v1 + named + v2)
    assert hybrid.version == 1 and hybrid.unified == Path("/sys/fs/cgroup/unified")
    assert hybrid.folder("cpuacct", "/a/b") == Path("/sys/fs/cgroup/cpu,cpuacct/a/b")
    assert len(list(hybrid.folders("/a"))) == 3
    unified = cgroups.parse(v2)
    assert unified.version == 2 and unified.folder("memory", "a") == Path("/sys/fs/cgroup/unified/a")


PS = """UID          PID    PPID  C STIME TTY          TIME CMD
root           1       0  0 10:00 ?        00:00:01 /sbin/init --flag x
root          42       1  0 10:00 ?        00:00:00 sleep   60
root           -       -  0 10:00 -        00:00:00 -
root          43       1  0 10:00 ?        00:00:00 other
"""


def test_ps_output() -> None:
    titles, rows = parse(PS, [42])
    assert titles == ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"]
    assert [row[1] for row in rows] == ["42", "-"] and rows[0][-1] == "sleep   60"
    assert parse(PS, [1])[1][0][-1] == "/sbin/init --flag x"
    with pytest.raises(Internal, match="Couldn't find PID field in ps output"):
        parse("USER CMD\nroot x\n", [42])


def test_ps_of_this_process() -> None:
    async def steps() -> None:
        titles, rows = await top([os.getpid()], "")
        assert [row[titles.index("PID")] for row in rows] == [str(os.getpid())]
        titles, rows = await top([os.getpid()], "-o pid,comm")
        assert titles == ["PID", "COMMAND"] and len(rows) == 1
        titles, rows = await top([os.getpid()], "aux")
        assert len(rows) == 1
        with pytest.raises(Internal, match="Couldn't find PID field in ps output"):
            await top([os.getpid()], "-o comm")
        with pytest.raises(Internal, match=r"^ps: "):
            await top([os.getpid()], "--nonsense")
        with pytest.raises(InvalidArgument, match='specifying "ppid=PID" is not allowed'):
            await top([os.getpid()], "-o ppid=PID")

    asyncio.run(steps())
