"""The OCI spec, as Docker would have it: from records alone, and once on a real container."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from process_box import box, drain

from linkspan.errors import InvalidArgument, LinkspanError, Unavailable
from linkspan.model.container import Config, Container, DeviceMapping, ExecConfig, HostConfig, Mount, Ulimit
from linkspan.runtime import capabilities, seccomp
from linkspan.runtime.host_facts import devices, host_facts
from linkspan.runtime.resources import Device
from linkspan.runtime.spec import MASKED, Surroundings, exec_process, oci_spec, overridden, validate
from linkspan.runtime.users import Identity

AROUND = Surroundings(
    rootfs="/rootfs",
    cgroup="/linkspan/c1",
    hostname="c1",
    network_namespace="/run/netns/c1",
    hosts="/ours/hosts",
    hostname_file="/ours/hostname",
    resolv_conf="/ours/resolv.conf",
    nofile_hard=20000,
)


def container(config: dict[str, Any] | None = None, mounts: tuple[Mount, ...] = (), **host: Any) -> Container:
    return Container(
        id="c1",
        name="c1",
        created="",
        image_id="",
        path="/bin/run",
        args=("-x",),
        config=Config(hostname="c1", **(config or {})),
        host_config=HostConfig(**host),
        mounts=mounts,
    )


def spec_of(made: Container, around: Surroundings = AROUND) -> dict[str, Any]:
    """As runc would read it."""
    value: dict[str, Any] = json.loads(msgspec.json.encode(oci_spec(made, around)))
    return value


def mounts_of(spec: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {mount["destination"]: mount for mount in spec["mounts"]}


def test_defaults() -> None:
    spec = spec_of(container())
    process, linux = spec["process"], spec["linux"]
    assert process["args"] == ["/bin/run", "-x"] and process["cwd"] == "/" and not process["terminal"]
    assert process["env"] == [
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOSTNAME=c1",
        "HOME=/",
    ]
    assert len(process["capabilities"]["bounding"]) == 14
    assert set(process["capabilities"]["effective"]) == set(capabilities.DEFAULT)
    assert linux["maskedPaths"] == list(MASKED) and "/proc/sys" in linux["readonlyPaths"]
    assert {namespace["type"]: namespace.get("path") for namespace in linux["namespaces"]} == {
        "mount": None,
        "network": "/run/netns/c1",
        "pid": None,
        "ipc": None,
        "uts": None,
    }
    mounts = mounts_of(spec)
    assert "ro" in mounts["/sys"]["options"] and "ro" in mounts["/sys/fs/cgroup"]["options"]
    assert "size=67108864" in mounts["/dev/shm"]["options"]
    assert mounts["/etc/resolv.conf"]["source"] == "/ours/resolv.conf"
    assert linux["resources"]["devices"][0] == {"allow": False, "access": "rwm"}
    assert set(linux["resources"]) == {"devices"}
    assert spec["hostname"] == "c1" and linux["cgroupsPath"] == "/linkspan/c1" and "seccomp" not in linux


def test_privileged() -> None:
    device = Device(path="/dev/kvm", kind="c", major=10, minor=232)
    spec = spec_of(container(privileged=True), msgspec.structs.replace(AROUND, devices=(device,)))
    assert spec["process"]["capabilities"]["effective"] == list(capabilities.ALL)
    assert spec["linux"]["maskedPaths"] == spec["linux"]["readonlyPaths"] == []
    assert spec["linux"]["resources"]["devices"] == [{"allow": True, "access": "rwm"}]
    assert spec["linux"]["devices"][0]["path"] == "/dev/kvm"
    assert "rw" in mounts_of(spec)["/sys"]["options"] and "rw" in mounts_of(spec)["/sys/fs/cgroup"]["options"]


def test_a_user_other_than_root_holds_no_capability() -> None:
    spec = spec_of(
        container(), msgspec.structs.replace(AROUND, identity=Identity(uid=5, gid=6, groups=(6, 7), home="/h"))
    )
    assert spec["process"]["user"] == {"uid": 5, "gid": 6, "additionalGids": [6, 7]}
    assert spec["process"]["capabilities"]["effective"] == [] and spec["process"]["capabilities"]["bounding"]
    assert spec["process"]["env"][-1] == "HOME=/h"


@pytest.mark.parametrize(
    ("add", "drop", "expected"),
    [
        ((), (), set(capabilities.DEFAULT)),
        (("net_admin",), ("CAP_KILL",), set(capabilities.DEFAULT) - {"CAP_KILL"} | {"CAP_NET_ADMIN"}),
        (("ALL",), ("SYS_ADMIN",), set(capabilities.ALL) - {"CAP_SYS_ADMIN"}),
        (("CHOWN", "CAP_KILL"), ("all",), {"CAP_CHOWN", "CAP_KILL"}),
        ((), ("ALL",), set()),
        (("ALL",), ("ALL",), set(capabilities.ALL)),
    ],
)
def test_capabilities(add: tuple[str, ...], drop: tuple[str, ...], expected: set[str]) -> None:
    assert set(capabilities.effective(add, drop, privileged=False)) == expected


def test_environment() -> None:
    config = {"env": ("PATH=/bin", "A=1", "B=2=3", "HOME=/x"), "tty": True}
    env = spec_of(container(config))["process"]["env"]
    assert env == ["PATH=/bin", "HOSTNAME=c1", "TERM=xterm", "A=1", "B=2=3", "HOME=/x"]
    assert overridden(["A=1", "B=2"], ["A", "B=3", "C=4"]) == ["B=3", "C=4"]


def test_limits() -> None:
    resources = spec_of(
        container(
            memory=64 << 20,
            memory_reservation=32 << 20,
            nano_cpus=1_500_000_000,
            cpu_shares=512,
            cpuset_cpus="0-1",
            pids_limit=50,
            blkio_weight=300,
            oom_kill_disable=True,
        )
    )["linux"]["resources"]
    assert resources["memory"] == {
        "limit": 64 << 20,
        "reservation": 32 << 20,
        "swap": 128 << 20,
        "disableOOMKiller": True,
    }
    assert resources["cpu"] == {"shares": 512, "quota": 150_000, "period": 100_000, "cpus": "0-1"}
    assert resources["pids"] == {"limit": 50} and resources["blockIO"] == {"weight": 300}
    assert spec_of(container(memory=1 << 30, memory_swap=-1))["linux"]["resources"]["memory"]["swap"] == -1
    without = msgspec.structs.replace(AROUND, swap_accounting=False)
    assert spec_of(container(memory=1 << 30), without)["linux"]["resources"]["memory"] == {"limit": 1 << 30}
    assert "pids" not in spec_of(container(pids_limit=0))["linux"]["resources"]


def test_open_files_are_cut_to_what_the_daemon_has() -> None:
    ulimits = (Ulimit(name="nofile", soft=1048576, hard=1048576), Ulimit(name="core", soft=-1, hard=-1))
    assert spec_of(container(ulimits=ulimits))["process"]["rlimits"] == [
        {"type": "RLIMIT_NOFILE", "soft": 20000, "hard": 20000},
        {"type": "RLIMIT_CORE", "soft": 2**64 - 1, "hard": 2**64 - 1},
    ]


def test_mounts_of_the_user_win_and_come_in_order() -> None:
    spec = spec_of(
        container(
            mounts=(
                Mount(type="volume", source="/v", destination="/data/deep", writable=False),
                Mount(type="bind", source="/b", destination="/data", propagation="rslave"),
                Mount(type="bind", source="/h", destination="/etc/hosts", propagation="rprivate"),
                Mount(type="tmpfs", destination="/run", options=("size=1m", "exec")),
                Mount(type="bind", source="/s", destination="/dev/shm"),
            )
        )
    )
    mounts, order = mounts_of(spec), [mount["destination"] for mount in spec["mounts"]]
    assert len(order) == len(set(order)) and order.index("/data") < order.index("/data/deep")
    assert mounts["/etc/hosts"]["source"] == "/h" and mounts["/dev/shm"]["source"] == "/s"
    assert mounts["/data/deep"]["options"] == ["rbind", "rprivate", "ro"]
    assert mounts["/data"]["options"] == ["rbind", "rslave"] and spec["linux"]["rootfsPropagation"] == "rslave"
    assert mounts["/run"]["options"] == ["noexec", "nosuid", "nodev", "size=1m", "exec"]
    whole = mounts_of(spec_of(container(mounts=(Mount(type="bind", source="/dev", destination="/dev"),))))
    assert whole["/dev"]["source"] == "/dev" and "/dev/pts" not in whole and "/dev/shm" not in whole


def test_namespaces_of_the_host_and_of_others() -> None:
    hosts = spec_of(
        container(pid_mode="host", ipc_mode="host", uts_mode="host", network_mode="host"),
        msgspec.structs.replace(AROUND, network_namespace=""),
    )
    assert [namespace["type"] for namespace in hosts["linux"]["namespaces"]] == ["mount"]
    assert "hostname" not in hosts and "sysctl" not in hosts["linux"]
    assert mounts_of(hosts)["/dev/shm"]["source"] == "/dev/shm"
    theirs = spec_of(
        container(pid_mode="container:x", ipc_mode="container:x"),
        msgspec.structs.replace(AROUND, pid_namespace="/proc/7/ns/pid", ipc_namespace="/proc/7/ns/ipc"),
    )
    assert {"type": "pid", "path": "/proc/7/ns/pid"} in theirs["linux"]["namespaces"]
    assert mounts_of(theirs)["/dev/shm"]["source"] == "/proc/7/root/dev/shm"
    assert "/dev/shm" not in mounts_of(spec_of(container(ipc_mode="none")))
    private = spec_of(container(cgroupns_mode="private"))["linux"]["namespaces"]
    assert {"type": "cgroup"} in private


def test_kernel_settings() -> None:
    sysctl = spec_of(container({"domainname": "example.com"}, sysctls={"net.core.somaxconn": "9"}))["linux"]["sysctl"]
    assert sysctl == {
        "net.core.somaxconn": "9",
        "net.ipv4.ip_unprivileged_port_start": "0",
        "net.ipv4.ping_group_range": "0 2147483647",
        "kernel.domainname": "example.com",
    }


def test_init() -> None:
    spec = spec_of(container(init=True), msgspec.structs.replace(AROUND, init="/usr/bin/tini-static"))
    assert spec["process"]["args"] == ["/sbin/docker-init", "--", "/bin/run", "-x"]
    assert mounts_of(spec)["/sbin/docker-init"]["source"] == "/usr/bin/tini-static"
    with pytest.raises(InvalidArgument, match="docker-init"):
        oci_spec(container(init=True), AROUND)


def test_exec() -> None:
    made = container({"env": ("A=1",), "working_dir": "/w"}, security_opt=("no-new-privileges",))
    process = exec_process(
        made, ExecConfig(cmd=("ls", "-l"), env=("A=2", "B=3"), tty=True, console_size=(4, 5)), AROUND
    )
    assert process["args"] == ["ls", "-l"] and process["cwd"] == "/w" and process["terminal"]
    assert "A=2" in process["env"] and "B=3" in process["env"] and "TERM=xterm" in process["env"]
    assert process["consoleSize"] == {"height": 4, "width": 5} and process["noNewPrivileges"]
    assert exec_process(made, ExecConfig(cmd=("ls",), working_dir="/z"), AROUND)["cwd"] == "/z"
    privileged = exec_process(made, ExecConfig(cmd=("ls",), privileged=True), AROUND)
    assert privileged["capabilities"]["effective"] == list(capabilities.ALL)


@pytest.mark.parametrize(
    ("host", "text"),
    [
        ({"cap_add": ("FLY",)}, 'unknown capability: "CAP_FLY"'),
        ({"cap_drop": ("FLY",)}, 'unknown capability: "CAP_FLY"'),
        ({"security_opt": ("nonsense",)}, 'invalid --security-opt 1: "nonsense"'),
        ({"security_opt": ("a=b",)}, 'invalid --security-opt 2: "a=b"'),
        ({"security_opt": ("seccomp={",)}, "Decoding seccomp profile failed"),
        ({"ulimits": (Ulimit(name="wings", hard=1, soft=1),)}, "invalid ulimit type: wings"),
        ({"ulimits": (Ulimit(name="core", hard=1, soft=2),)}, "ulimit soft limit must be less than or equal"),
        ({"device_cgroup_rules": ("c 1 rwm",)}, "invalid device cgroup rule format: 'c 1 rwm'"),
        ({"devices": (DeviceMapping(path_on_host="/dev/null", cgroup_permissions="x"),)}, "invalid device mode: x"),
        ({"tmpfs": {"/run": "wings=2"}}, 'invalid tmpfs option ["wings=2"]'),
        ({"network_mode": "host", "sysctls": {"net.a": "1"}}, 'sysctl "net.a" not allowed in host network namespace'),
        ({"blkio_weight": 5}, "Range of blkio weight is from 10 to 1000"),
        ({"oom_score_adj": 2000}, "Invalid value 2000, range for oom score adj is [-1000, 1000]"),
    ],
)
def test_refused(host: dict[str, Any], text: str) -> None:
    with pytest.raises(InvalidArgument) as error:
        validate(Config(), HostConfig(**host))
    assert text in str(error.value)


def test_accepted() -> None:
    options = ("no-new-privileges:true", "apparmor=unconfined", "label=disable", "label:disable", "seccomp:unconfined")
    validate(Config(working_dir="/x"), HostConfig(security_opt=options, device_cgroup_rules=("c *:* rwm", "b 8:1 r")))
    with pytest.raises(InvalidArgument):
        validate(Config(working_dir="x"), HostConfig())


# -- seccomp -------------------------------------------------------------------------------------------------------

PROFILE = {
    "defaultAction": "SCMP_ACT_ERRNO",
    "defaultErrnoRet": 38,
    "archMap": [{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86", "SCMP_ARCH_X32"]}],
    "syscalls": [
        {"names": ["read", "write"], "action": "SCMP_ACT_ALLOW", "args": None, "includes": {}, "excludes": {}},
        {"names": ["mount"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_SYS_ADMIN"]}},
        {"names": ["mount"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1, "excludes": {"caps": ["CAP_SYS_ADMIN"]}},
        {"names": ["arm_only"], "action": "SCMP_ACT_ALLOW", "includes": {"arches": ["arm64"]}},
        {"names": ["ptrace"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "4.8"}},
        {"names": ["future"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "99.0"}},
        {
            "name": "personality",
            "action": "SCMP_ACT_ALLOW",
            "args": [{"index": 0, "value": 8, "valueTwo": 0, "op": "SCMP_CMP_EQ"}],
        },
    ],
}


def test_seccomp_conversion() -> None:
    profile = seccomp.Profile(json.dumps(PROFILE), machine="x86_64", kernel="6.18.4-generic")
    oci = json.loads(bytes(profile.oci(["CAP_CHOWN"])))
    assert oci["architectures"] == ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"]
    assert oci["defaultErrnoRet"] == 38
    assert oci["syscalls"] == [
        {"names": ["read", "write"], "action": "SCMP_ACT_ALLOW"},
        {"names": ["mount"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1},
        {"names": ["ptrace"], "action": "SCMP_ACT_ALLOW"},
        {
            "names": ["personality"],
            "action": "SCMP_ACT_ALLOW",
            "args": [{"index": 0, "value": 8, "op": "SCMP_CMP_EQ"}],
        },
    ]
    admin = json.loads(bytes(profile.oci(["CAP_SYS_ADMIN"])))
    assert {"names": ["mount"], "action": "SCMP_ACT_ALLOW"} in admin["syscalls"]
    assert profile.oci(["CAP_CHOWN"]) is profile.oci(("CAP_CHOWN",))  # converted once


def test_seccomp_in_the_spec() -> None:
    profile = seccomp.Profile(json.dumps(PROFILE), machine="x86_64", kernel="6.1")
    around = msgspec.structs.replace(AROUND, seccomp=profile)
    assert spec_of(container(), around)["linux"]["seccomp"]["defaultAction"] == "SCMP_ACT_ERRNO"
    assert "seccomp" not in spec_of(container(security_opt=("seccomp=unconfined",)), around)["linux"]
    assert "seccomp" not in spec_of(container(privileged=True), around)["linux"]
    own = container(security_opt=('seccomp={"defaultAction":"SCMP_ACT_ALLOW"}',))
    assert spec_of(own, around)["linux"]["seccomp"] == {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": []}


def test_profile_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="golang-github-containers-common"):
        seccomp.load(tmp_path / "none.json")


def test_devices(tmp_path: Path) -> None:
    mapping = DeviceMapping(path_on_host="/dev/null", path_in_container="/dev/nothing", cgroup_permissions="r")
    (device,) = devices([mapping], privileged=False)
    assert (device.path, device.kind, device.major, device.minor, device.access) == ("/dev/nothing", "c", 1, 3, "r")
    with pytest.raises(LinkspanError, match='adding custom device "/dev/nowhere": no such file or directory'):
        devices([DeviceMapping(path_on_host="/dev/nowhere")], privileged=False)
    assert {"/dev/null", "/dev/zero"} <= {device.path for device in devices(None, privileged=True)}


@pytest.mark.root
def test_what_a_real_container_sees(tmp_path: Path) -> None:
    script = (
        "id -u; id -g; ulimit -n; grep -E 'Cap(Eff|Bnd)|NoNewPrivs|Seccomp:' /proc/self/status; "
        "touch /x 2>&1; touch /tmp/y && echo tmpfs; cat /etc/hosts; echo $HOME; "
        "mount -t tmpfs none /mnt 2>&1; cat /sys/fs/cgroup/pids/pids.max /sys/fs/cgroup/pids.max 2>/dev/null"
    )

    async def steps() -> str:
        async with box(tmp_path) as this:
            (tmp_path / "hosts").write_text("10.9.8.7 here\n")
            (this.rootfs / "mnt").mkdir()
            made = container(
                {"user": "1000:1001"},
                (Mount(type="tmpfs", destination="/tmp"),),
                readonly_rootfs=True,
                pids_limit=77,
                cap_add=("NET_ADMIN",),
                security_opt=("no-new-privileges",),
                ulimits=(Ulimit(name="nofile", soft=512, hard=1 << 20),),
            )
            made = msgspec.structs.replace(made, path="/bin/sh", args=("-c", script))
            around = Surroundings(
                **host_facts(),
                rootfs=str(this.rootfs),
                cgroup=f"{this.parent}/c1",
                hostname="c1",
                hosts=str(tmp_path / "hosts"),
                identity=Identity(uid=1000, gid=1001, groups=(1001,)),
            )
            await this.processes.create("c1", oci_spec(made, around), log_path=this.log("c1"))
            streams = await this.processes.attach("c1", False)
            await this.processes.start("c1")
            output, _ = await drain(streams)
            await this.exit()
            return output.decode()

    output = asyncio.run(steps())
    assert output.startswith("1000\n1001\n512\n")
    assert "CapEff:\t0000000000000000" in output and "CapBnd:\t00000000a80435fb" in output
    assert "NoNewPrivs:\t1" in output and "Seccomp:\t2" in output
    assert "touch: /x: Read-only file system" in output and "tmpfs\n" in output
    assert "10.9.8.7 here" in output and "\n/\n" in output and "\n77\n" in output
    assert "mount: " in output
