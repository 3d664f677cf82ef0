"""The options of docker run, each seen from inside."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.docker_client import OLD_CLIENT
from tests.product.engine import Done
from tests.product.place import Place
from tests.product.test_life import cgroup

Client = Callable[..., Done]


def sh(client: Client, script: str, *options: str, image: str = "plain", **more: int) -> str:
    """What a script prints, run in the foreground with these options."""
    return client("run", "--rm", *options, image, "sh", "-c", script, **more).out.strip()


def test_environment(engine: Place, client: Client) -> None:
    (engine.folder / "env").write_text("# a comment\nA=from file\nB=2\nHOME\n")
    found = sh(client, "env", "-e", "B=3", "-e", "C=", "--env-file", str(engine.folder / "env")).splitlines()
    assert {"A=from file", "B=3", "C=", "IN_IMAGE=yes", f"HOME={engine.folder}"} <= set(found)
    assert any(line.startswith("PATH=/usr/local/sbin:") for line in found)
    assert any(line.startswith("HOSTNAME=") for line in found)
    assert "TERM=xterm" not in found


def test_user_group_and_folder(client: Client) -> None:
    assert (
        sh(client, "id -u; id -g; pwd; echo $HOME", "-u", "app", "-w", "/made/for/it")
        == "1000\n1000\n/made/for/it\n/home/app"
    )
    assert sh(client, "id -u; id -g", "-u", "1234:2000") == "1234\n2000"
    assert "2000" in sh(client, "id -G", "-u", "app", "--group-add", "extra")
    refused = client("run", "--rm", "-u", "nobody-there", "plain", "true", status=125).err
    assert "unable to find user nobody-there: no matching entries in passwd file" in refused


def test_entrypoint_and_command(client: Client) -> None:
    assert client("run", "--rm", "--entrypoint", "echo", "plain", "a", "b").out == "a b\n"
    assert client("run", "--rm", "--entrypoint", "", "plain", "echo", "x").out == "x\n"


def test_names(engine: Place, client: Client) -> None:
    options = ("--name", "called", "--hostname", "inside", "--domainname", "example.org", "--label", "a=b")
    assert sh(client, "hostname; cat /etc/hostname; hostname -f", *options).startswith("inside\ninside\n")
    id_ = engine.run("--label", "a=b", "--label", "c", "plain", "sleep", "60")
    assert engine.out("exec", id_, "hostname") == id_[:12]
    assert engine.inspect(id_)["Config"]["Labels"] == {"a": "b", "c": "", "of": "image"}


def test_limits(engine: Place, client: Client) -> None:
    options = ("-m", "64m", "--cpus", "0.25", "--pids-limit", "50", "--cpu-shares", "512", "--cpuset-cpus", "0")
    id_ = client("run", "-d", *options, "plain", "sleep", "60").out.strip()
    assert cgroup(id_, "memory", "memory.limit_in_bytes") == str(64 << 20)
    assert int(cgroup(id_, "cpu", "cpu.cfs_quota_us")) * 4 == int(cgroup(id_, "cpu", "cpu.cfs_period_us"))
    assert cgroup(id_, "pids", "pids.max") == "50"
    assert cgroup(id_, "cpu", "cpu.shares") == "512"
    assert cgroup(id_, "cpuset", "cpuset.cpus") == "0"
    assert "Minimum memory limit" in client("run", "-m", "1k", "plain", status=125).err
    assert sh(client, "ulimit -n", "--ulimit", "nofile=100:200") == "100"


def test_out_of_memory(engine: Place) -> None:
    engine.docker("run", "--name", "eater", "-m", "8m", "--memory-swap", "8m", "plain", "sh", "-c",
                  "x=x; while :; do x=$x$x; done", status=137)  # fmt: skip
    state = engine.inspect("eater")["State"]
    assert state["OOMKilled"] and state["ExitCode"] == 137


def test_read_only_and_tmpfs(client: Client) -> None:
    script = "touch /x 2>&1; touch /scratch/y && ls /scratch; grep ' /scratch ' /proc/mounts"
    found = sh(client, script, "--read-only", "--tmpfs", "/scratch:size=4m,noexec")
    assert "Read-only file system" in found and "\ny\n" in found and "size=4096k" in found and "noexec" in found
    assert "65536k" in sh(client, "grep ' /dev/shm ' /proc/mounts") and "8192k" in sh(
        client, "grep ' /dev/shm ' /proc/mounts", "--shm-size", "8m"
    )


def capabilities(client: Client, *options: str) -> int:
    return int(sh(client, "grep CapEff /proc/self/status | cut -f 2", *options), 16)


def test_capabilities(client: Client) -> None:
    default = capabilities(client)
    assert default == 0xA80425FB  # Docker's fourteen
    assert capabilities(client, "--cap-drop", "ALL") == 0
    assert capabilities(client, "--cap-drop", "NET_RAW") == default & ~(1 << 13)
    assert capabilities(client, "--cap-add", "NET_ADMIN") == default | 1 << 12
    assert capabilities(client, "--cap-drop", "ALL", "--cap-add", "cap_chown") == 1
    assert capabilities(client, "--privileged") & 1 << 21
    assert "invalid CapAdd: unknown capability" in client("run", "--cap-add", "NONSENSE", "plain", status=125).err


def test_confinement(client: Client) -> None:
    """What Docker's default profile keeps from a container, and --privileged gives it."""
    script = (
        "mount -t tmpfs t /tmp 2>&1; echo 1 2>/dev/null >/proc/sys/net/ipv4/ip_forward || echo kept; "
        "ls -A /sys/firmware; grep Seccomp: /proc/self/status"
    )
    found = sh(client, script).splitlines()
    assert found == ["mount: permission denied (are you root?)", "kept", "Seccomp:\t2"]
    script = "mount -t tmpfs t /tmp && echo mounted; grep Seccomp: /proc/self/status"
    assert sh(client, script, "--privileged").splitlines() == ["mounted", "Seccomp:\t0"]
    assert sh(client, "grep NoNewPrivs /proc/self/status", "--security-opt", "no-new-privileges").endswith("1")
    assert sh(client, "grep Seccomp: /proc/self/status", "--security-opt", "seccomp=unconfined").endswith("0")


def test_hosts_and_dns(engine: Place, client: Client) -> None:
    hosts = sh(client, "cat /etc/hosts", "--add-host", "db:10.1.2.3", "--add-host", "up:host-gateway")
    assert "10.1.2.3\tdb" in hosts and "172.17.0.1\tup" in hosts
    found = sh(client, "cat /etc/resolv.conf", "--dns", "10.9.9.9", "--dns-search", "a.org", "--dns-option", "ndots:3")
    lines = found.splitlines()
    assert {"nameserver 10.9.9.9", "search a.org", "options ndots:3"} <= set(lines)
    assert "bad format for add-host" in client("run", "--add-host", "nonsense", "plain", status=125).err
    assert "ip address" in client("run", "--dns", "nonsense", "plain", status=None).err.lower()


def test_sysctl_init_devices(client: Client) -> None:
    assert sh(client, "cat /proc/sys/net/core/somaxconn", "--sysctl", "net.core.somaxconn=77") == "77"
    assert sh(client, "ls -l /dev/null2", "--device", "/dev/null:/dev/null2:r").startswith("crw")
    assert sh(client, "cat /proc/self/oom_score_adj", "--oom-score-adj", "300") == "300"


def test_namespaces_of_others(engine: Place, client: Client) -> None:
    engine.run("--name", "first", "plain", "sleep", "61")
    assert "sleep 61" in sh(client, "ps", "--pid", "container:first")
    assert "linkspand" in sh(client, "ps", "--pid", "host")
    assert "sleep 61" not in sh(client, "ps")
    assert sh(client, "hostname", "--uts", "host") == "host"


def test_cidfile_and_pull_policy(engine: Place, client: Client) -> None:
    file = engine.folder / "cid"
    id_ = client("run", "-d", "--cidfile", str(file), "plain", "sleep", "60").out.strip()
    assert file.read_text() == id_
    file.unlink()
    assert "No such image: nothing-here" in client("run", "--pull", "never", "nothing-here", status=125).err


@pytest.mark.parametrize(
    "options, text",
    [
        (("--restart", "sometimes"), "restart policy"),
        (("--rm", "--restart", "always"), "onflict"),
        (("--network", "nothing-there"), "network nothing-there not found"),
        (("--network", "container:nobody"), "No such container: nobody"),
        (("-w", "relative"), "invalid"),
        (("-v", "/a:relative"), "relative"),
        pytest.param(
            ("--ip", "172.17.0.9"),
            "user specified IP address is supported",
            marks=pytest.mark.skipif(OLD_CLIENT, reason="Docker 20.10's client keeps the address to itself"),
        ),
        (("--memory", "64m", "--memory-swap", "32m"), "emory"),
        (("--cpus", "1000"), "CPUs"),
        (("--sysctl", "kernel.nonsense=1"), "sysctl"),
        (("--name", "in valid"), "Invalid container name"),
        (("--security-opt", "nonsense"), "security-opt"),
        (("--device", "/dev/not-there"), "/dev/not-there"),
        (("--network", "host", "--network", "none"), "network"),
        (("--log-driver", "nonsense"), "nonsense"),
        (("--runtime", "nonsense"), "nonsense"),
        (("--uts", "host", "--hostname", "own"), "conflicting options: hostname and the UTS mode"),
        (("--volume-driver", "foo", "-v", "/data"), 'error looking up volume plugin foo: plugin "foo" not found'),
    ],
)
def test_refused(engine: Place, options: tuple[str, ...], text: str) -> None:
    refused = engine.docker("run", "-d", *options, "plain", "true", status=None)
    # Docker's client makes 127 of whatever ends with "no such file or directory".
    assert refused.status == (127 if "no such file" in refused.err else 125) and text in refused.err, refused
    assert "Unable to find image" not in refused.err


def test_the_hosts_ipc_namespace(engine: Place) -> None:
    """Also on a host that has no /dev/mqueue mounted."""
    look = "readlink /proc/self/ns/ipc; grep -c mqueue /proc/mounts"
    namespace, mounts = engine.out("run", "--rm", "--ipc", "host", "plain", "sh", "-c", look).split()
    assert namespace == engine.host.run(["readlink", "/proc/self/ns/ipc"]).stdout.strip() and mounts == "1"


def test_a_volume_driver_that_nothing_asks(engine: Place) -> None:
    engine.docker("create", "--name", "box", "--volume-driver", "foo", "plain")
    assert engine.inspect("box")["HostConfig"]["VolumeDriver"] == "foo"
