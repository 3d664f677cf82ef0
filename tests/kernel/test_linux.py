"""The real kernel alone: held against `ip`, drift, a second daemon, others' flushes."""

from __future__ import annotations

import errno
import json
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from linkspan.errors import Conflict, PortUnavailable, Unavailable
from linkspan.kernel.linux import LinuxKernel
from linkspan.kernel.nftables import RULESET, Nftables
from linkspan.kernel.ports import Ports
from linkspan.state.objects import HOST, Address, BoundPort, Bridge, Namespace, NftElement, Route, Veth, state_of
from linkspan.state.plan import Create, Plan, diff
from tests.hosts import Host, hosts

pytestmark = pytest.mark.root


@pytest.fixture
def host() -> Iterator[Host]:
    with hosts(main="10.211.55.4/24") as made:
        yield made["main"]


@pytest.fixture
def kernel(host: Host, tmp_path: Path) -> Iterator[LinuxKernel]:
    made = host.call(LinuxKernel, tmp_path / "netns")
    yield made
    host.call(made.apply, diff(host.call(made.read), {}))
    host.call(made.close)


def attached(folder: Path) -> dict[tuple[str, ...], object]:
    path = str(folder / "netns" / "c1")
    return state_of(
        [
            Bridge("docker0", "linkspan:net", 1450, "02:42:00:00:00:01"),
            Address(HOST, "docker0", "172.17.0.1/16"),
            Namespace(path),
            Veth("veth1", "linkspan:ep", path, "eth0", "02:42:ac:11:00:02", "docker0", 1450, isolated=True),
            Address(path, "eth0", "172.17.0.2/16"),
            Route(path, "0.0.0.0/0", "eth0", "172.17.0.1"),
            NftElement("published", "tcp . 80", "172.17.0.2 . 80", "ep"),
        ]
    )


def test_against_ip(host: Host, kernel: LinuxKernel, tmp_path: Path) -> None:
    host.call(kernel.apply, diff({}, attached(tmp_path)))
    path = str(tmp_path / "netns" / "c1")
    for enter, namespace in ((host.path, HOST), (path, path)):
        seen = subprocess.check_output(["nsenter", f"--net={enter}", "ip", "-j", "-d", "address"], text=True)
        ours = host.call(kernel.interfaces, namespace)
        for theirs, mine in zip(json.loads(seen), ours, strict=True):
            assert (mine.index, mine.name, mine.mtu) == (theirs["ifindex"], theirs["ifname"], theirs["mtu"])
            assert mine.mac == theirs["address"]
            assert mine.up == ("UP" in theirs["flags"])
            assert mine.master == theirs.get("master", "")
            assert mine.alias == theirs.get("ifalias", "")
            assert mine.kind == theirs.get("linkinfo", {}).get("info_kind", "")
            assert list(mine.addresses) == [
                f"{a['local']}/{a['prefixlen']}" for a in theirs["addr_info"] if not a["local"].startswith("fe80")
            ]
    (port,) = host.json("ip", "-j", "-d", "link", "show", "veth1")
    assert port["linkinfo"]["info_slave_data"]["hairpin"] is True
    assert port["linkinfo"]["info_slave_data"]["isolated"] is True


def test_drift_is_seen_and_mended(host: Host, kernel: LinuxKernel, tmp_path: Path) -> None:
    desired = attached(tmp_path)
    host.call(kernel.apply, diff({}, desired))
    inside = f"--net={tmp_path / 'netns' / 'c1'}"
    damages = (
        ["ip", "link", "set", "docker0", "down"],
        ["ip", "link", "set", "veth1", "nomaster"],
        ["ip", "link", "del", "veth1"],
        ["ip", "link", "del", "docker0"],
        ["nsenter", inside, "ip", "route", "del", "default"],
        ["nsenter", inside, "ip", "link", "set", "eth0", "down"],
        ["nsenter", inside, "ip", "address", "flush", "dev", "eth0"],
    )
    for damage in damages:
        host.run(*damage)
        plan = diff(host.call(kernel.read), desired)
        assert plan, damage
        host.call(kernel.apply, plan)
        # Putting a link up or down takes routes with it, which only the next look can see.
        host.call(kernel.apply, diff(host.call(kernel.read), desired))
        assert diff(host.call(kernel.read), desired) == Plan(), damage


def test_a_flush_by_others_leaves_the_table(host: Host, kernel: LinuxKernel, tmp_path: Path) -> None:
    desired = attached(tmp_path)
    host.call(kernel.apply, diff({}, desired))
    host.run("nft", "flush", "ruleset")
    assert diff(host.call(kernel.read), desired) == Plan()
    assert subprocess.run(["nsenter", f"--net={host.path}", "nft", "delete", "table", "inet", "linkspan"]).returncode


@pytest.mark.parametrize("owned", [True, False], ids=["a kernel that has no persistent tables", "by choice"])
def test_a_table_that_nobody_owns_is_made_again(
    host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owned: bool
) -> None:
    monkeypatch.setattr("linkspan.kernel.nftables._OWNER_PERSIST", 1 << 20)
    kernel = host.call(LinuxKernel, tmp_path / "netns", owned_table=owned)
    desired = attached(tmp_path)
    host.call(kernel.apply, diff({}, desired))
    before = host.call(kernel.ruleset)
    for loss in ("flush ruleset", "flush table inet linkspan; delete map inet linkspan published"):
        # At a look.
        host.run("nft", loss)
        plan = diff(host.call(kernel.read), desired)
        assert {type(step.after) for step in plan if isinstance(step, Create)} == {NftElement}
        host.call(kernel.apply, plan)
        assert host.call(kernel.read) == desired
        assert sorted(host.call(kernel.ruleset).split("\n")) == sorted(before.split("\n"))
        # At a change, whatever it is.
        other = state_of([NftElement("published", "udp . 53", "172.17.0.2 . 53", "ep")])
        for plan in (diff({}, other), diff(other, {})):
            host.run("nft", loss)
            host.call(kernel.apply, plan)
            there = host.call(kernel.read)
            assert (next(iter(other)) in there) == isinstance(plan.steps[0], Create)
            host.call(kernel.apply, diff(there, desired))
    host.call(kernel.apply, diff(desired, {}))
    host.call(kernel.close)


def test_a_plain_table_that_is_flushed_becomes_our_own(host: Host) -> None:
    host.call(host.call(Nftables, owned=False).close)
    nft = host.call(Nftables)
    assert not nft.owned
    host.run("nft", "flush", "ruleset")
    assert host.call(nft.read) == []
    assert nft.owned
    host.run("nft", "flush", "ruleset")
    assert "chain" in host.call(nft.ruleset)
    host.call(nft.close)


def test_whatever_goes_wrong_is_undone(
    host: Host, kernel: LinuxKernel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("nobody expected this")

    with monkeypatch.context() as patched:
        patched.setattr(kernel._nft, "apply", broken)
        with pytest.raises(ZeroDivisionError):
            host.call(kernel.apply, diff({}, attached(tmp_path)))
    assert host.call(kernel.read) == {}
    with monkeypatch.context() as patched:  # and what goes wrong with undoing one step is no reason to leave the others
        patched.setattr(kernel._nft, "apply", broken)
        patched.setattr("linkspan.kernel.rtnetlink.delete_address", broken)
        with pytest.raises(ZeroDivisionError):
            host.call(
                kernel.apply, diff({}, state_of([*attached(tmp_path).values(), Address(HOST, "eth0", "10.99.0.1/24")]))
            )
    host.run("ip", "address", "del", "10.99.0.1/24", "dev", "eth0")
    assert host.call(kernel.read) == {}
    assert "a step could not be undone" in caplog.text


def test_errors_of_the_kernel_are_of_our_kinds(
    host: Host, kernel: LinuxKernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    element = state_of([NftElement("published", "tcp . 80", "172.17.0.2 . 80")])
    host.call(kernel.apply, diff({}, element))

    def exhausted(*_: object) -> None:
        raise OSError(errno.ENOBUFS, "No buffer space available")

    monkeypatch.setattr("linkspan.kernel.elements.read", exhausted)
    other = state_of([NftElement("published", "tcp . 80", "172.17.0.3 . 80")])
    with pytest.raises(Unavailable, match="cannot read the elements of nft table inet linkspan: no buffer space"):
        host.call(kernel.apply, diff({}, other))
    monkeypatch.undo()
    assert host.call(kernel.read) == element


@pytest.mark.parametrize("what", ["rtnetlink.addresses", "conntrack.forget_udp", "linux.NetlinkSocket"])
def test_what_is_not_forgotten_fails_nothing(
    host: Host, kernel: LinuxKernel, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    asked = []

    def exhausted(*_: object) -> None:
        asked.append(what)
        raise OSError(errno.EMFILE, "Too many open files")

    element = state_of([NftElement("published", "udp . 53", "172.17.0.2 . 53")])
    with monkeypatch.context() as patched:
        patched.setattr(f"linkspan.kernel.{what}", exhausted)
        host.call(kernel.apply, diff({}, element))
    assert asked
    assert host.call(kernel.read) == element


def test_ports_without_descriptors(host: Host) -> None:
    ports = host.call(Ports)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with Path(os.devnull).open() as highest:
        resource.setrlimit(resource.RLIMIT_NOFILE, (highest.fileno() + 1, hard))
        try:
            with pytest.raises(
                PortUnavailable, match=r"bind host port 10\.211\.55\.4:80/tcp: the daemon's limit on open"
            ):
                host.call(ports.bind, BoundPort("tcp", "10.211.55.4", 80))
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert ports.held() == []


def test_a_new_daemon_takes_over(host: Host, kernel: LinuxKernel, tmp_path: Path) -> None:
    desired = attached(tmp_path)
    host.call(kernel.apply, diff({}, desired))
    with pytest.raises(Conflict, match="another linkspand"):
        host.call(LinuxKernel, tmp_path / "netns")
    host.call(kernel.close)
    before = host.run("nft", "list", "table", "inet", "linkspan")
    second = host.call(LinuxKernel, tmp_path / "netns")
    try:
        assert diff(host.call(second.read), desired) == Plan()
        more = state_of([NftElement("published", "udp . 53", "172.17.0.2 . 53")])
        host.call(second.apply, diff({}, more))
        assert "udp . 53" in host.call(second.ruleset)
        host.call(second.apply, diff(more, {}))
        after = host.run("nft", "list", "table", "inet", "linkspan")
        assert after.partition("map")[2] == before.partition("map")[2]  # before it stands who owns the table
    finally:
        host.call(second.close)
        kernel.__init__ = None  # type: ignore[method-assign,assignment]
        host.call(LinuxKernel.__init__, kernel, tmp_path / "netns")


@pytest.mark.parametrize("owned", [True, False])
def test_one_daemon_at_a_time(host: Host, tmp_path: Path, owned: bool) -> None:
    first = host.call(LinuxKernel, tmp_path / "one", owned_table=owned)
    desired = state_of([Bridge("docker0", "linkspan:net"), Address(HOST, "docker0", "172.17.0.1/16")])
    host.call(first.apply, diff({}, desired))
    with pytest.raises(Conflict, match=r"another linkspand programs this host's network: stop it first, or .*ss -xlp"):
        host.call(LinuxKernel, tmp_path / "two", owned_table=owned)
    assert "@linkspan" in host.run("ss", "-xlp")  # as the text says
    with hosts(other="10.0.0.1/24") as made:  # elsewhere there is room for another
        elsewhere = made["other"].call(LinuxKernel, tmp_path / "two")
        made["other"].call(elsewhere.close)
    assert not diff(host.call(first.read), desired)
    host.call(first.apply, diff(desired, {}))
    host.call(first.close)
    host.call(host.call(LinuxKernel, tmp_path / "two", owned_table=owned).close)


def test_a_killed_daemon_is_in_nobodys_way(host: Host, tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; from linkspan.kernel.linux import LinuxKernel\n"
        "kernel = LinuxKernel(Path(sys.argv[1])); os.kill(os.getpid(), 9)"
    )
    for _ in range(3):
        assert host.run(sys.executable, "-c", code, str(tmp_path / "netns"), check=False) == ""
        host.call(host.call(LinuxKernel, tmp_path / "netns").close)


def test_a_namespace_whose_making_was_cut_short_leaves_no_file(host: Host, tmp_path: Path) -> None:
    folder = tmp_path / "netns"
    kernel = host.call(LinuxKernel, folder)
    host.call(kernel.apply, diff({}, {o.key: o for o in [Namespace(str(folder / "whole"))]}))
    (folder / "half").touch()  # killed between making the file and mounting the namespace on it
    (folder / "note").write_text("the administrator's")
    host.call(kernel.close)
    again = host.call(LinuxKernel, folder)
    try:
        assert sorted(path.name for path in folder.iterdir()) == ["note", "whole"]
        assert list(host.call(again.read)) == [Namespace(str(folder / "whole")).key]
        host.call(again.apply, diff(host.call(again.read), {}))
    finally:
        host.call(again.close)


def test_what_a_killed_daemon_was_starting_lets_go_soon(host: Host, tmp_path: Path) -> None:
    """A child of its that has not executed its program yet holds what the daemon held."""
    code = (
        "import os, sys, time; from pathlib import Path; from linkspan.kernel.linux import LinuxKernel\n"
        "kernel = LinuxKernel(Path(sys.argv[1]))\n"
        "if os.fork(): os._exit(0)\n"
        "print('child', flush=True); time.sleep(0.4)"
    )
    command = ["nsenter", f"--net={host.path}", sys.executable, "-W", "ignore", "-c", code, str(tmp_path / "netns")]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as killed:
        assert killed.stdout and killed.stdout.readline() == b"child\n"
        killed.wait()
        host.call(host.call(LinuxKernel, tmp_path / "netns").close)


def test_an_older_ruleset_is_replaced_and_elements_stay(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    old = host.call(Nftables)
    element = NftElement("published", "tcp . 80", "172.17.0.2 . 80", "ep")
    host.call(old.apply, list(diff({}, state_of([element]))))
    before = host.call(old.ruleset)
    host.call(old.close)
    changed = RULESET.replace("oifname @internal drop", "oifname @internal counter drop")
    monkeypatch.setattr("linkspan.kernel.nftables.RULESET", changed)
    monkeypatch.setattr("linkspan.kernel.nftables.VERSION", "ruleset_newer")
    new = host.call(Nftables)
    after = host.call(new.ruleset)
    assert host.call(new.read) == [element]
    assert "counter packets 0 bytes 0 drop" in after
    assert "ruleset_newer" in after
    assert after.count("chain ") == before.count("chain ")
    # A set whose type changed: the table is built anew.
    monkeypatch.setattr(
        "linkspan.kernel.nftables.RULESET",
        changed.replace("set icc { type nf_proto . ifname . ifname; }", "set icc { type ifname . ifname; }")
        .replace("meta nfproto . iifname . oifname @icc", "iifname . oifname @icc")
        .replace("meta nfproto . oifname . oifname != @icc", "oifname . oifname != @icc"),
    )
    monkeypatch.setattr("linkspan.kernel.nftables.VERSION", "ruleset_newest")
    host.call(new.close)
    newest = host.call(Nftables)
    assert "ruleset_newest" in host.call(newest.ruleset)
    host.call(newest.close)


def test_a_plain_table_stays_plain(host: Host) -> None:
    plain = host.call(Nftables, owned=False)
    host.call(plain.close)
    second = host.call(Nftables)
    assert not second.owned
    host.call(second.apply, list(diff({}, state_of([NftElement("published", "tcp . 80", "172.17.0.2 . 80")]))))
    host.call(second.close)


def test_a_user_cannot_keep_the_daemon_from_starting(tmp_path: Path) -> None:
    with hosts(host="10.0.0.1/24") as made:
        host = made["host"]
        squat = (
            "import socket, time; s = socket.socket(socket.AF_UNIX); s.bind('\\0linkspan'); s.listen();"
            "print(1, flush=True); time.sleep(60)"
        )
        command = ["nsenter", f"--net={host.path}", "--setuid=65534", "--setgid=65534", "python3", "-c", squat]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as user:
            try:
                assert user.stdout and user.stdout.readline() == b"1\n"
                kernel = host.call(LinuxKernel, tmp_path / "netns")
                host.call(kernel.close)
            finally:
                user.kill()


def test_routes_that_another_program_keeps(host: Host, kernel: LinuxKernel) -> None:
    """By protocol and metric: those of another of its kind, and all others, stay."""
    host.run("ip", "-6", "address", "add", "fd55::4/64", "dev", "eth0")
    theirs = ("proto", "bird", "metric", "76")
    for version, prefix, ways in (
        ("-4", "10.65.2.0/26", ("via", "10.211.55.5")),
        ("-4", "10.65.3.0/26", ("nexthop", "via", "10.211.55.5", "nexthop", "via", "10.211.55.6")),
        ("-6", "fd65::200/122", ("via", "fd55::5")),
        ("-6", "fd65::300/122", ("nexthop", "via", "fd55::5", "nexthop", "via", "fd55::6")),
    ):
        host.run("ip", version, "route", "add", prefix, *theirs, *ways)
    host.run("ip", "route", "add", "10.65.4.0/26", "via", "10.211.55.5", "proto", "bird", "metric", "32")
    host.run("ip", "route", "add", "10.65.2.0/26", "via", "10.211.55.6", "proto", "static", "metric", "76", "tos", "8")
    found = host.call(kernel.learned, 12, 76)
    assert set(found) == {"10.65.2.0/26", "10.65.3.0/26", "fd65::200/122", "fd65::300/122"}
    host.call(kernel.forget, 12, 76)
    assert host.call(kernel.learned, 12, 76) == ()
    left = host.run("ip", "route", "show", "10.65.0.0/16") + host.run(
        "ip", "-4", "route", "show", "root", "10.65.0.0/16"
    )
    assert "10.65.4.0/26" in left and "proto static" in left
    host.call(kernel.forget, 12, 76)
