"""What no container may ask for, in Docker's words."""

from __future__ import annotations

import msgspec
import pytest

from linkspan.containers.limits import check_limits, check_modes
from linkspan.containers.mounts import resolve_mounts
from linkspan.errors import InvalidArgument
from linkspan.model.container import Config, DeviceRequest, HostConfig, MountRequest, RestartPolicy

ONLINE = frozenset({0, 1, 2, 5})
MIB = 1 << 20


@pytest.mark.parametrize(
    ("host", "text"),
    [
        (HostConfig(memory_swap=MIB), "You should always set the Memory limit when using Memoryswap limit, see usage"),
        (HostConfig(memory=9 * MIB, memory_swap=8 * MIB), "Minimum memoryswap limit should be larger than memory"),
        (HostConfig(memory=9 * MIB, memory_reservation=10 * MIB), "can not be less than memory reservation limit"),
        (HostConfig(memory_reservation=MIB), "Minimum memory reservation allowed is 6MB"),
        (HostConfig(cpuset_cpus="99"), r"Requested CPUs are not available - requested 99, available: 0-2,5"),
        (HostConfig(cpuset_cpus="0-5"), r"Requested CPUs are not available - requested 0-5, available: 0-2,5"),
        (HostConfig(cpuset_cpus="a"), "Invalid value a for cpuset cpus"),
        (HostConfig(cpuset_mems="1-"), "Invalid value 1- for cpuset mems"),
        (HostConfig(cpu_period=1), "CPU cfs period can not be less than 1ms"),
        (HostConfig(cpu_quota=1), "CPU cfs quota can not be less than 1ms"),
        (HostConfig(nano_cpus=5 * 10**9), r"range of CPUs is from 0\.01 to 4\.00, as there are only 4 CPUs available"),
        (HostConfig(nano_cpus=1, cpu_quota=2000), "Nano CPUs and CPU Period cannot both be set"),
        (
            HostConfig(restart_policy=RestartPolicy(name="always", maximum_retry_count=1)),
            "only be used with 'on-failure'",
        ),
        (HostConfig(restart_policy=RestartPolicy(name="on-failure", maximum_retry_count=-1)), "cannot be negative"),
    ],
)
def test_limits(host: HostConfig, text: str) -> None:
    with pytest.raises(InvalidArgument, match=text):
        check_limits(host, ONLINE)


def test_what_is_within_the_limits() -> None:
    check_limits(HostConfig(), ONLINE)
    check_limits(
        HostConfig(memory=9 * MIB, memory_swap=-1, memory_reservation=8 * MIB, cpuset_cpus="0-2,5", cpu_quota=-1),
        ONLINE,
    )


@pytest.mark.parametrize(
    ("host", "text"),
    [
        (HostConfig(ipc_mode="foo"), "invalid IPC mode: foo"),
        (HostConfig(pid_mode="foo"), "invalid PID mode: foo"),
        (HostConfig(uts_mode="foo"), "invalid UTS mode: foo"),
        (HostConfig(userns_mode="foo"), "invalid user namespace mode: foo"),
        (HostConfig(cgroupns_mode="foo"), "invalid cgroup namespace mode: foo"),
        (HostConfig(isolation="hyperv"), "invalid isolation 'hyperv' on linux"),
        (HostConfig(storage_opt={"size": "1G"}), "--storage-opt is not supported"),
        (
            HostConfig(device_requests=(DeviceRequest(capabilities=(("gpu",),)),)),
            r'could not select device driver "" with capabilities: \[\[gpu\]\]',
        ),
    ],
)
def test_what_would_be_stored_and_do_nothing_is_refused(host: HostConfig, text: str) -> None:
    with pytest.raises(InvalidArgument, match=text):
        check_modes(host)


def test_modes_that_are_there() -> None:
    check_modes(HostConfig())
    check_modes(
        HostConfig(ipc_mode="container:x", pid_mode="host", uts_mode="host", userns_mode="host", isolation="default")
    )


def mount(**asked: object) -> tuple[str, tuple[str, ...]]:
    request = msgspec.convert({"Target": "/t", **asked}, MountRequest)
    (made,) = resolve_mounts(Config(), HostConfig(mounts=(request,)), {})
    return made.propagation, made.options


def test_options_of_mounts() -> None:
    assert mount(Type="bind", Source="/s", BindOptions={"NonRecursive": True}) == ("rprivate", ("bind",))
    assert mount(Type="bind", Source="/s", BindOptions={"Propagation": "rslave"}) == ("rslave", ())
    assert mount(Type="bind", Source="/s", BindOptions={"ReadOnlyForceRecursive": True}) == ("rprivate", ("rro",))
    assert mount(Type="volume", Source="vol", VolumeOptions={"NoCopy": True, "Subpath": ""}) == ("", ("nocopy",))
    assert mount(Type="tmpfs", TmpfsOptions={"SizeBytes": 9, "Mode": 0o700}) == ("", ("size=9", "mode=700"))


@pytest.mark.parametrize(
    ("asked", "text"),
    [
        ({"Type": "bind", "Source": "/s", "BindOptions": {"Propagation": "x"}}, "invalid propagation mode: x"),
        ({"Type": "bind", "Source": "/s", "BindOptions": {"Nonsense": True}}, "not supported: Nonsense"),
        ({"Type": "volume", "VolumeOptions": {"Subpath": "a"}}, 'type "volume": not supported: Subpath'),
        ({"Type": "volume", "VolumeOptions": {"DriverConfig": {"Options": {"o": "1"}}}}, "not supported: Options"),
        ({"Type": "volume", "VolumeOptions": {"DriverConfig": {"Name": "nfs"}}}, 'plugin "nfs" not found'),
        ({"Type": "volume", "VolumeOptions": {"Labels": {"a": 1}}}, "Labels is an object of strings"),
        ({"Type": "tmpfs", "TmpfsOptions": {"Options": [["exec"]]}}, "not supported: Options"),
    ],
)
def test_options_of_mounts_that_would_do_nothing_are_refused(asked: dict[str, object], text: str) -> None:
    with pytest.raises(InvalidArgument, match=text):
        mount(**asked)


@pytest.mark.parametrize(("volumes", "binds"), [({"/data": {}}, ()), (None, ("vol:/data",)), (None, ("/data",))])
def test_a_volume_driver_that_is_not_there(volumes: dict[str, dict[str, str]] | None, binds: tuple[str, ...]) -> None:
    with pytest.raises(InvalidArgument, match='error looking up volume plugin nfs: plugin "nfs" not found'):
        resolve_mounts(Config(volumes=volumes), HostConfig(volume_driver="nfs", binds=binds), {})


def test_a_volume_driver_that_nothing_asks() -> None:
    request = MountRequest(type="volume", source="own", target="/other")  # says its driver itself
    found = resolve_mounts(Config(), HostConfig(volume_driver="nfs", binds=("/a:/b",), mounts=(request,)), {})
    assert [mount.destination for mount in found] == ["/b", "/other"]
