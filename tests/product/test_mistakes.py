"""What is easily typed wrong, and options that this engine does not have: an error in Docker's words, at creation."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from tests.product.place import Place


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (("--gpus", "all"), 'could not select device driver "" with capabilities: [[gpu]]'),
        (("--ipc", "nonsense"), "invalid IPC mode: nonsense"),
        (("--isolation", "nonsense"), "invalid isolation 'nonsense' on linux"),
        (("--storage-opt", "size=1G"), "--storage-opt is not supported"),
        (("--stop-signal", "SIGFOO"), "invalid signal: SIGFOO"),
        (("--memory-swap", "1g"), "You should always set the Memory limit when using Memoryswap limit, see usage"),
        (("--cpuset-cpus", "4000"), "Requested CPUs are not available - requested 4000, available: 0-"),
        (("--cpu-period", "1"), "CPU cfs period can not be less than 1ms"),
        (("--volume-driver", "nfs", "-v", "some:/data"), 'error looking up volume plugin nfs: plugin "nfs" not found'),
        (("--mount", "type=volume,src=some,dst=/data,volume-driver=nfs"), 'plugin "nfs" not found'),
        (("--mount", "type=volume,src=some,dst=/data,volume-opt=o=1"), "not supported: Options"),
        (("--device-read-bps", "/dev/nowhere:1mb"), "stat /dev/nowhere: no such file or directory"),
        (("--device-read-bps", "/dev/null:1mb"), "/dev/null is not a block device"),
    ],
)
def test_options_that_are_refused(engine: Place, options: tuple[str, ...], text: str) -> None:
    refused = engine.docker("run", "--rm", *options, "plain", "true", status=None)
    assert text in refused.err
    assert refused.status == (127 if "no such file or directory" in text else 125)  # as docker reads the words
    assert engine.out("ps", "-aq") == "" and engine.out("volume", "ls", "-q") == ""


def test_another_platform(engine: Place) -> None:
    """404, by which a client knows to ask a registry."""
    status, answer = engine.request("POST", "/containers/create?platform=linux/arm64", {"Image": "plain"})
    assert status == 404
    assert answer["message"].startswith("image with reference plain was found but its platform (linux/")
    status, answer = engine.request("POST", "/containers/create?platform=nonsense", {"Image": "plain"})
    assert (status, answer["message"]) == (
        400,
        '"nonsense": unknown operating system or architecture: invalid argument',
    )
    own = engine.inspect("plain")["Architecture"]
    assert engine.out("run", "--rm", "--platform", f"linux/{own}", "plain", "echo", "here") == "here"


def test_limits_of_a_block_device(engine: Place) -> None:
    disks = [path for path in Path("/dev").glob("*d[a-z]") if stat.S_ISBLK(path.stat().st_mode)]
    if not disks:
        pytest.skip("no disk here to limit")
    limits = ("--device-read-bps", f"{disks[0]}:1mb", "--device-write-iops", f"{disks[0]}:100")
    id_ = engine.run(*limits, "plain", "sleep", "60")
    host = engine.inspect(id_)["HostConfig"]
    assert host["BlkioDeviceReadBps"] == [{"Path": str(disks[0]), "Rate": 1 << 20}]
    assert host["BlkioDeviceWriteIOps"] == [{"Path": str(disks[0]), "Rate": 100}]
    number = disks[0].stat().st_rdev
    written = [*Path("/sys/fs/cgroup").glob(f"**/{id_}/blkio.throttle.read_bps_device")]
    written += [*Path("/sys/fs/cgroup").glob(f"**/{id_}/io.max")]
    assert f"{number >> 8}:{number & 255} " in written[0].read_text() and "1048576" in written[0].read_text()


def test_what_lies_below_a_bind_mount(engine: Place) -> None:
    """Comes along, unless it is not to."""
    source = engine.folder / "source"
    (source / "below").mkdir(parents=True)
    engine.host.run(["mount", "-t", "tmpfs", "tmpfs", str(source / "below")])
    engine.host.run(["touch", str(source / "below" / "there")])
    try:
        bind = f"type=bind,src={source},dst=/s"
        assert engine.out("run", "--rm", "--mount", bind, "plain", "ls", "/s/below") == "there"
        alone = ("--mount", f"{bind},bind-recursive=disabled")
        assert engine.newest("run", "--rm", *alone, "plain", "ls", "/s/below").out == ""
    finally:
        engine.host.run(["umount", str(source / "below")])


def test_labels_of_a_volume_that_a_mount_makes(engine: Place) -> None:
    engine.docker("run", "--rm", "--mount", "type=volume,src=labelled,dst=/d,volume-label=a=b", "plain", "true")
    assert engine.inspect("labelled")["Labels"] == {"a": "b"}
