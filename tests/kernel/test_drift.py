"""What no event tells of is found, once, and namespaces are held again as they are."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from linkspan.kernel.linux import LinuxKernel
from linkspan.state.objects import HOST, KernelObject, Namespace, Sysctl, state_of
from linkspan.state.plan import diff
from tests.hosts import Host, hosts
from tests.kernel.test_watch import kernel_in, network

pytestmark = pytest.mark.root
SETTING = "net/ipv4/conf/docker0/route_localnet"


@pytest.fixture
def host() -> Iterator[Host]:
    with hosts(host="10.0.0.1/24") as made:
        yield made["host"]


def put_back(host: Host, kernel: LinuxKernel, desired: dict[tuple[str, ...], KernelObject]) -> int:
    sysctls = [(o.namespace, o.name) for o in desired.values() if isinstance(o, Sysctl)]
    plan = diff(host.call(kernel.read, sysctls), desired)
    host.call(kernel.apply, plan)
    return len(plan)


def test_a_setting(host: Host, tmp_path: Path) -> None:
    with kernel_in(host, tmp_path / "netns") as kernel:
        desired = state_of([*network(tmp_path / "netns"), Sysctl(HOST, SETTING, "1")])
        put_back(host, kernel, desired)
        watch = host.call(kernel.watch)
        assert not host.call(watch.lost)
        for _ in range(2):
            host.run("sysctl", "-qw", SETTING.replace("/", ".") + "=0")
            assert host.call(watch.lost)
            assert not host.call(watch.lost)  # once is enough: perhaps it cannot be put back
            assert put_back(host, kernel, desired) == 1
            assert not host.call(watch.lost)
        # What is not asked for any more may be as it likes, and so may what went with its interface.
        host.call(kernel.read)
        host.run("sysctl", "-qw", SETTING.replace("/", ".") + "=0")
        assert not host.call(watch.lost)
        put_back(host, kernel, desired)
        host.call(kernel.apply, diff(desired, {}))
        assert not host.call(watch.lost)


@pytest.mark.parametrize("removed", ["unmounted", "removed"])
def test_a_namespaces_file_that_nobody_was_connected_to(host: Host, tmp_path: Path, removed: str) -> None:
    desired = state_of(network(tmp_path / "netns"))
    (path,) = [o.path for o in desired.values() if isinstance(o, Namespace)]
    with kernel_in(host, tmp_path / "netns") as kernel:
        put_back(host, kernel, desired)
    before = Path(path).stat().st_ino
    with process_in(path) as inside, process_in(host.path) as outside:
        subprocess.run(["umount", path], check=True)
        if removed == "removed":
            Path(path).unlink()
        with kernel_in(host, tmp_path / "netns") as kernel:
            host.call(kernel.hold, {path: inside, f"{path}-host": outside, f"{path}-gone": 1 << 22})
            assert Path(path).stat().st_ino == before
            assert list(Path(path).parent.iterdir()) == [Path(path)]
            assert put_back(host, kernel, desired) == 0
            host.call(kernel.apply, diff(desired, {}))


@contextlib.contextmanager
def process_in(path: str) -> Iterator[int]:
    """The pid of a process in the namespace at `path`."""
    process = subprocess.Popen(["nsenter", f"--net={path}", "sleep", "60"])
    try:
        while not Path(f"/proc/{process.pid}/ns/net").samefile(path):
            assert process.poll() is None
        yield process.pid
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("removed", ["unmounted", "removed"])
def test_a_namespaces_file(host: Host, tmp_path: Path, removed: str) -> None:
    with kernel_in(host, tmp_path / "netns") as kernel:
        desired = state_of(network(tmp_path / "netns"))
        put_back(host, kernel, desired)
        watch, (path,) = host.call(kernel.watch), [o.path for o in desired.values() if isinstance(o, Namespace)]
        assert not host.call(watch.lost)
        before = Path(path).stat().st_ino
        subprocess.run(["umount", path], check=True)
        if removed == "removed":
            Path(path).unlink()
            assert host.call(watch.lost) and not host.call(watch.lost)
        assert put_back(host, kernel, desired) == 0
        assert Path(path).stat().st_ino == before
        assert not host.call(watch.lost)
        host.call(kernel.apply, diff(desired, {}))
        assert not host.call(watch.lost) and not Path(path).exists()
