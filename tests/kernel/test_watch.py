"""What somebody else takes away is noticed; what we take away ourselves is not."""

from __future__ import annotations

import contextlib
import select
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from linkspan.errors import Internal
from linkspan.kernel.contract import Losses
from linkspan.kernel.linux import LinuxKernel
from linkspan.state.objects import (
    HOST,
    Address,
    Bridge,
    Device,
    FdbEntry,
    KernelObject,
    Namespace,
    Neighbour,
    NftElement,
    Route,
    Shaper,
    Sysctl,
    Veth,
    Vxlan,
    state_of,
)
from linkspan.state.plan import Step, diff
from tests.hosts import Host, hosts

pytestmark = pytest.mark.root


def network(folder: Path) -> list[KernelObject]:
    inside = str(folder / "c")
    return [
        Bridge("docker0", "linkspan:n"),
        Address(HOST, "docker0", "172.17.0.1/16"),
        Namespace(inside),
        Veth("vetha", "linkspan:e", inside, "eth0", "02:42:ac:11:00:02", "docker0"),
        Address(inside, "eth0", "172.17.0.2/16"),
        Route(inside, "0.0.0.0/0", "eth0", "172.17.0.1"),
        NftElement("bridges", 'ipv4 . "docker0"', comment="n"),
    ]


@contextlib.contextmanager
def kernel_in(host: Host, folder: Path, *, owned: bool = True) -> Iterator[LinuxKernel]:
    kernel = host.call(LinuxKernel, folder, owned_table=owned)
    try:
        yield kernel
    finally:
        host.call(kernel.close)


def noticed(host: Host, watch: Losses) -> bool:
    """Whether a loss is told within a second."""
    readable, _, _ = select.select(watch.descriptors, [], [], 1)
    return bool(readable) and host.call(watch.lost)


def firewall(watch: Losses) -> Sequence[int]:
    """What tells of the firewall, and of what was seen already. The links' own may speak at any time: a second after
    an interface is up the kernel has found that nobody else has its IPv6 address."""
    return watch.descriptors[1:]


@pytest.mark.parametrize(
    "command",
    ["ip link delete docker0", "ip link delete vetha", "ip link set docker0 down", "ip address flush dev docker0"],
)
def test_losses(tmp_path: Path, command: str) -> None:
    with hosts(host="10.0.0.1/24") as made, kernel_in(host := made["host"], tmp_path / "netns") as kernel:
        desired = state_of(network(tmp_path / "netns"))
        watch = host.call(kernel.watch)
        host.call(kernel.apply, diff({}, desired))
        host.run(*command.split())
        assert noticed(host, watch)
        host.call(kernel.apply, diff(host.call(kernel.read), desired))
        assert not diff(host.call(kernel.read), desired)
        host.run(*["ip", "link", "add", "other", "type", "veth", "peer", "name", "peer"])
        host.run(*["ip", "link", "delete", "other"])
        assert not host.call(watch.lost)  # nothing of ours
        host.call(kernel.apply, diff(desired, {}))
        assert not host.call(watch.lost)  # our own doing


BUCKETS = [
    "tc qdisc del dev DEV root",
    "tc qdisc replace dev DEV root handle 9: tbf rate 1gbit burst 1mb latency 50ms",
    "tc qdisc change dev DEV root handle 4c53: tbf rate 1gbit burst 1mb latency 50ms",
]
INWARD = ["tc filter del dev DEV ingress", "tc qdisc del dev DEV clsact", "ip link delete DEV-in"]


@pytest.mark.parametrize(
    ("end", "command"),
    [*(("host", words) for words in BUCKETS), *(("sandbox", words) for words in (*BUCKETS, *INWARD))],
)
def test_limits_of_bandwidth(tmp_path: Path, end: str, command: str) -> None:
    with hosts(host="10.0.0.1/24") as made, kernel_in(host := made["host"], tmp_path / "netns") as kernel:
        inside = str(tmp_path / "netns" / "c")
        both = [Shaper(inside, "eth0", inward, 40_000_000, 100_000) for inward in (False, True)]
        desired = state_of([*network(tmp_path / "netns"), Shaper(HOST, "vetha", False, 40_000_000, 100_000), *both])
        watch = host.call(kernel.watch)
        host.call(kernel.apply, diff({}, desired))
        assert not host.call(watch.lost)

        def run(words: str) -> None:
            enter = ("nsenter", f"--net={inside}") if end == "sandbox" else ()
            host.run(*enter, *words.replace("DEV", "eth0" if end == "sandbox" else "vetha").split())

        run(command)
        assert noticed(host, watch)
        host.call(kernel.apply, diff(host.call(kernel.read), desired))
        assert not diff(host.call(kernel.read), desired)
        assert not host.call(watch.lost)  # our own doing
        run("tc qdisc add dev lo root handle 7: tbf rate 1gbit burst 1mb latency 50ms")
        run("tc qdisc del dev lo root")
        assert not host.call(watch.lost)  # nothing of ours
        host.call(kernel.apply, diff(desired, {}))
        assert not host.call(watch.lost)


@pytest.mark.parametrize("command", ["ip link delete net0", "ip link set net0 down"])
def test_losses_inside_a_sandbox(tmp_path: Path, command: str) -> None:
    """What has no other end on the host goes without the host hearing of it."""
    with hosts(host="10.0.0.1/24") as made, kernel_in(host := made["host"], tmp_path / "netns") as kernel:
        inside = str(tmp_path / "netns" / "c")
        device = Device(inside, "net0", "macvlan", "linkspan:p", "eth0", "bridge", "02:42:ac:11:00:02")
        desired = state_of([Namespace(inside), device, Address(inside, "net0", "10.0.0.2/24")])
        watch = host.call(kernel.watch)
        before = watch.descriptors
        host.call(kernel.apply, diff({}, desired))
        # Whoever waits for them does so while sandboxes come and go, and their numbers are given to others.
        assert not host.call(watch.lost) and watch.descriptors == before

        def inner(words: str) -> None:
            host.run("nsenter", f"--net={inside}", *words.split())

        inner("ip link add other type veth peer name peer")
        inner("ip link delete other")
        assert not host.call(watch.lost)  # nothing of ours
        inner(command)
        assert noticed(host, watch)
        host.call(kernel.apply, diff(host.call(kernel.read), desired))
        assert not host.call(watch.lost) and not diff(host.call(kernel.read), desired)
        inner("ip link delete net0")
        host.call(kernel.apply, diff(host.call(kernel.read), desired))  # seen by chance, and told all the same
        assert host.call(watch.lost)
        host.call(kernel.apply, diff(desired, {}))
        assert not host.call(watch.lost) and watch.descriptors == before


def elsewhere(numbers: range = range(2, 4)) -> list[KernelObject]:
    """A tunnel from the network, and containers behind it."""
    rows: list[KernelObject] = [Vxlan("vx-9", "linkspan:n", 9, "10.0.0.1", bridge="docker0")]
    for number in numbers:
        mac = f"02:42:ac:12:{number >> 8:02x}:{number & 255:02x}"
        rows += [Neighbour("docker0", f"172.17.{number >> 8}.{number & 255}", mac), FdbEntry("vx-9", mac)]
        rows += [FdbEntry("vx-9", mac, "10.0.0.2"), Route(HOST, f"10.{number >> 8}.{number & 255}.0/24", "docker0")]
    return rows


@pytest.mark.parametrize(
    "command",
    [
        "ip link delete vx-9",
        "ip link set vx-9 nomaster",
        "ip neigh delete 172.17.0.3 dev docker0",
        "bridge fdb delete 02:42:ac:12:00:03 dev vx-9 dst 10.0.0.2 self",
        "bridge fdb delete 02:42:ac:12:00:03 dev vx-9 master",
        "ip route delete 10.0.3.0/24",
    ],
)
def test_losses_of_what_leads_elsewhere(tmp_path: Path, command: str) -> None:
    with hosts(host="10.0.0.1/24") as made, kernel_in(host := made["host"], tmp_path / "netns") as kernel:
        desired = state_of([*network(tmp_path / "netns"), *elsewhere()])
        watch = host.call(kernel.watch)
        host.call(kernel.apply, diff({}, desired))
        assert not host.call(watch.lost)
        # Of somebody else's neighbours, and of what a bridge learns, nothing matters.
        for harmless in (
            "ip neigh add 172.17.9.9 lladdr 02:00:00:00:00:09 dev docker0 nud permanent",
            "bridge fdb add 02:00:00:00:00:09 dev vetha master dynamic",
            "ip neigh delete 172.17.9.9 dev docker0",
            "bridge fdb delete 02:00:00:00:00:09 dev vetha master",
        ):
            host.run(*harmless.split())
        assert not host.call(watch.lost)
        host.run(*command.split())
        assert noticed(host, watch)
        host.call(kernel.apply, diff(host.call(kernel.read), desired))
        assert not diff(host.call(kernel.read), desired)
        assert not host.call(watch.lost)  # our own doing, as is what follows
        host.call(kernel.apply, diff(desired, state_of(network(tmp_path / "netns"))))
        host.call(kernel.apply, diff(state_of(network(tmp_path / "netns")), {}))
        assert not host.call(watch.lost)


def test_thousands_of_our_own_rows_are_no_loss(tmp_path: Path) -> None:
    with hosts(host="10.0.0.1/24") as made, kernel_in(host := made["host"], tmp_path / "netns") as kernel:
        watch = host.call(kernel.watch)
        before = state_of(network(tmp_path / "netns"))
        many = state_of([*network(tmp_path / "netns"), *elsewhere(range(256, 2756))])
        host.call(kernel.apply, diff({}, before))
        for now, then in ((before, many), (many, before), (before, many), (many, {})):
            host.call(kernel.apply, diff(now, then))
            assert not host.call(watch.lost)


def test_a_flushed_table_that_nobody_owns(tmp_path: Path) -> None:
    with hosts(host="10.0.0.1/24") as made, kernel_in(host := made["host"], tmp_path, owned=False) as kernel:
        watch = host.call(kernel.watch)
        host.run("nft", "flush", "ruleset")
        assert noticed(host, watch)


FLUSH = "nft flush ruleset"
LOSSES = [
    "ip link delete docker0",
    "ip link set docker0 down",
    "ip address flush dev docker0",
    "sysctl -qw net.ipv4.ip_forward=0",
    FLUSH,
]


@pytest.mark.parametrize("command", LOSSES)
@pytest.mark.parametrize("when", ["before", "meanwhile"])
def test_a_loss_is_not_hidden_by_our_own_doing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str, when: str
) -> None:
    owned = command != FLUSH
    with hosts(host="10.0.0.1/24") as made, kernel_in(host := made["host"], tmp_path / "netns", owned=owned) as kernel:
        desired = state_of([*network(tmp_path / "netns"), Sysctl(HOST, "net/ipv4/ip_forward", "1")])
        watch = host.call(kernel.watch)
        host.call(kernel.apply, diff({}, desired))
        assert not host.call(watch.lost)
        elements = kernel._nft.apply

        def lose_first(steps: Sequence[Step]) -> None:
            host.run(*command.split())
            elements(steps)

        inside = str(tmp_path / "netns" / "d")
        other = state_of(
            [
                Namespace(inside),
                Veth("vethb", "linkspan:f", inside, "eth0", "02:42:ac:11:00:03", "docker0"),
                NftElement("published", "tcp . 80", "172.17.0.3 . 80", comment="f"),
            ]
        )
        if command == LOSSES[0] and when == "before":
            other = state_of([NftElement("published", "tcp . 80", "172.17.0.3 . 80", comment="f")])
        if when == "before":
            host.run(*command.split())
            host.call(kernel.apply, diff({}, other))
        else:
            with monkeypatch.context() as patched:
                patched.setattr(kernel._nft, "apply", lose_first)
                host.call(kernel.apply, diff({}, other))
        assert noticed(host, watch)
        assert not select.select(firewall(watch), [], [], 0)[0]  # once is enough
        assert not host.call(watch.lost)
        host.call(kernel.apply, diff(host.call(kernel.read), {}))
        assert not host.call(watch.lost)


@pytest.mark.parametrize("owned", [True, False])
def test_thousands_of_our_own_elements_are_no_loss(tmp_path: Path, owned: bool) -> None:
    """As many events would overflow the socket, after which everything is looked over."""
    with hosts(host="10.0.0.1/24") as made, kernel_in(host := made["host"], tmp_path, owned=owned) as kernel:
        watch = host.call(kernel.watch)
        many = state_of(NftElement("published", f"tcp . {port}", f"172.17.0.2 . {port}") for port in range(1, 10001))
        host.call(kernel.apply, diff({}, many))
        host.call(kernel.apply, diff(many, {}))
        assert not select.select(firewall(watch), [], [], 0)[0] and not host.call(watch.lost)
        host.run("nft", "add", "table", "inet", "other")
        assert not host.call(watch.lost) and host.call(watch.stirred)


def test_what_is_undone_is_no_loss(tmp_path: Path) -> None:
    with hosts(host="10.0.0.1/24") as made, kernel_in(host := made["host"], tmp_path / "netns") as kernel:
        watch = host.call(kernel.watch)
        broken = [*network(tmp_path / "netns"), NftElement("bridges", "no name of an interface")]
        with pytest.raises(Internal):
            host.call(kernel.apply, diff({}, state_of(broken)))
        assert host.call(kernel.read) == {}
        assert not host.call(watch.lost)


def test_the_interface_that_a_route_leads_over_goes_down_and_comes_up(tmp_path: Path) -> None:
    """The kernel takes the route away with it, and says nothing of that."""
    with hosts(main="10.211.55.4/24") as made, kernel_in(made["main"], tmp_path) as kernel:
        host = made["main"]
        desired = state_of([Route(HOST, "10.5.1.0/24", "eth0", "10.211.55.5")])
        watch = host.call(kernel.watch)
        host.call(kernel.apply, diff({}, desired))
        host.call(watch.lost)
        for state in ("down", "up"):
            host.run("ip", "link", "set", "eth0", state)
            assert noticed(host, watch), state
        host.call(kernel.apply, diff(host.call(kernel.read), desired))
        assert diff(host.call(kernel.read), desired).steps == ()
        host.run("ip", "link", "set", "eth0", "mtu", "1400")  # it concerns nobody
        assert not host.call(watch.lost)
        host.call(kernel.apply, diff(desired, {}))
