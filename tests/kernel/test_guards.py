"""What a sandbox lets in and out: made, changed, found again, and nobody else's to change."""

from __future__ import annotations

import socket
import subprocess
from pathlib import Path

import pytest

from linkspan.kernel.linux import LinuxKernel
from linkspan.model.selections import mark_of
from linkspan.state.guard import (
    ACCEPT,
    DROP,
    ICMP_TYPE,
    PROTOCOL,
    RETURN,
    SOURCE4,
    SOURCE6,
    SOURCE_PORT,
    TABLE,
    Among,
    Guard,
    GuardChain,
    GuardPorts,
    GuardRule,
    GuardSet,
    Is,
    Seal,
    stamp,
)
from linkspan.state.objects import Namespace, State, Veth, state_of
from linkspan.state.plan import Plan, diff, revert
from tests.hosts import hosts, socket_in
from tests.kernel.conftest import World, on_linux


def guard(path: str, *addresses: str, port: int = 80, interface: str = "eth0") -> Guard:
    """It has all that there is in one."""
    sets = (
        GuardSet("ip-a", 4, False, frozenset(addresses), sum(map(mark_of, addresses))),
        GuardSet("ip6-b", 6, True, frozenset({"fd00::/64", "fd01::1-fd01::5", "ff00::/8"}), 1),
    )
    chains = (
        GuardChain(
            "port-a",
            tuple(GuardRule((among,), ACCEPT) for among in (Among(SOURCE4, "ip-a"), Among(SOURCE6, "ip6-b", True))),
        ),
        GuardChain(
            f"tier-{port}",
            (
                GuardRule((Is(PROTOCOL, 6, 6),), ports=f"ports-{port}"),
                GuardRule((Is(PROTOCOL, 17, 17), Is(SOURCE_PORT, 1, 99, negated=True)), RETURN),
                GuardRule((Is(PROTOCOL, 1, 1), Is(ICMP_TYPE, 8, 8)), log="linkspan ingress x "),
                GuardRule(verdict=DROP),
            ),
        ),
        GuardChain(f"end-{port}", (GuardRule(jump=f"tier-{port}"), GuardRule(verdict=ACCEPT))),
    )
    spans = frozenset({(port, port, "port-a"), (8000, 9000, "port-a"), (65535, 65535, "port-a")})
    entries = ((interface, f"end-{port}", ""), ("lo9", "", f"end-{port}"))
    return Guard(path, stamp(entries, sets), entries, chains, sets, (GuardPorts(f"ports-{port}", spans),))


def sandbox(world: World, *guards: Guard) -> State:
    return state_of([Namespace(f"{world.folder}/c1"), *guards])


def test_it_comes_changes_and_goes(world: World) -> None:
    path = f"{world.folder}/c1"
    states = [
        sandbox(world),
        sandbox(world, guard(path, "10.0.0.2")),
        sandbox(world, guard(path, "10.0.0.2", "10.0.0.3", port=81)),
        sandbox(world, guard(path, "10.0.0.3", interface="eth1")),
    ]
    world.reach({}, states[0])
    for before in states:
        for after in states:
            world.reach(before, after)
            world.kernel.apply(revert(before, after))
            world.expect(before)
            world.reach(before, after)
            world.kernel.apply(diff(after, before))
    world.kernel.apply(diff(states[0], {}))
    assert world.read({}) == {}


def test_it_is_there_before_the_links_and_goes_with_its_sandbox(world: World) -> None:
    path = f"{world.folder}/c2"
    desired = state_of([*world.network(), *world.endpoint(2), guard(path, "10.0.0.2")])
    plan = diff({}, desired)
    kinds = [type(step.after).__name__ for step in plan if not hasattr(step, "before")]
    assert kinds.index("Guard") < kinds.index("Veth")
    assert not [step for step in diff(desired, {}) if isinstance(getattr(step, "before", None), Guard)]
    world.reach({}, desired)
    world.reach(desired, {})


def test_the_host_has_one_of_its_own(world: World) -> None:
    first, second = (state_of([guard("", f"10.0.0.{n}", port=n, interface="eth9")]) for n in (2, 3))
    for before, after in (({}, first), (first, second), (second, first), (first, {})):
        world.reach(before, after)
        world.kernel.apply(revert(before, after))
        world.expect(before)
        world.reach(before, after)


def test_one_that_is_not_what_was_thought_is_written_anew(world: World) -> None:
    path = f"{world.folder}/c1"
    first, second, third = (guard(path, f"10.0.0.{n}", port=n) for n in (2, 3, 4))
    world.reach({}, sandbox(world, first))
    world.reach(sandbox(world, second), sandbox(world, third))  # second was never there


def test_interfaces_are_sealed_and_opened(world: World) -> None:
    path = f"{world.folder}/c2"
    plain = state_of([*world.network(), *world.endpoint(2)])
    sealed = state_of([*plain.values(), guard(path, "10.0.0.2"), Seal(path, "eth0")])
    world.reach({}, plain)
    world.reach(plain, sealed)
    world.kernel.apply(diff(plain, sealed))  # once more
    world.expect(sealed)
    world.reach(sealed, plain)
    world.kernel.apply(revert(sealed, plain))
    world.expect(sealed)
    world.reach(sealed, {})


def test_an_interface_goes_and_then_what_was_said_of_it(world: World) -> None:
    path = f"{world.folder}/c2"
    further = Veth("veth9", "linkspan:9", path, "eth1", "02:42:ac:11:00:99", "docker0")
    rest = state_of([*world.network(), *world.endpoint(2), guard(path, "10.0.0.2"), Seal(path, "eth0")])
    both = rest | state_of([further, guard(path, "10.0.0.2", port=81), Seal(path, "eth1")])
    none = state_of([*world.network(), *world.endpoint(2), further])
    world.reach({}, both)
    world.reach(both, rest)
    world.reach(rest, both)
    world.kernel.apply(revert(rest, both))
    world.expect(rest)
    world.reach(rest, none)
    alone = state_of([*none.values(), guard(path, "10.0.0.2", interface="eth1"), Seal(path, "eth1")])
    world.reach(none, alone)
    world.reach(alone, state_of([*world.network(), *world.endpoint(2)]))
    assert not world.host or not nft(path, "list", "ruleset").stdout


@on_linux
def test_a_seal_whose_interface_took_it_along(world: World) -> None:
    path = f"{world.folder}/c2"
    plain = state_of([*world.network(), *world.endpoint(2)])
    world.reach({}, plain)
    assert not nft(path, "add", "table", "netdev", TABLE).returncode
    world.reach(state_of([*plain.values(), Seal(path, "eth9")]), plain)
    assert not nft(path, "list", "ruleset").stdout


@on_linux
def test_what_is_sent_past_the_stack_goes_nowhere(world: World) -> None:
    path = f"{world.folder}/c2"
    plain = state_of([*world.network(), *world.endpoint(2), *world.endpoint(3)])
    world.reach({}, plain)
    packet = bytes.fromhex("4500001c00000000401122aaac110002ac1100030400005000080000")  # UDP from .2 to .3, port 80
    with socket_in(f"{world.folder}/c3", socket.SOCK_DGRAM) as server, packet_socket(path) as client:
        server.bind(("0.0.0.0", 80))
        server.settimeout(0.3)
        to = ("eth0", 0x0800, 0, 0, bytes.fromhex("0242ac110003"))
        client.sendto(packet, to)
        assert server.recv(100) == b""
        world.reach(plain, state_of([*plain.values(), Seal(path, "eth0")]))
        for bypass in (0, 1):
            client.setsockopt(263, 20, bypass)  # SOL_PACKET, PACKET_QDISC_BYPASS
            with pytest.raises(OSError, match="No buffer space"):
                client.sendto(packet, to)
        with pytest.raises(TimeoutError):
            server.recv(100)
        with socket_in(path, socket.SOCK_DGRAM) as honest:
            honest.sendto(b"x", ("172.17.0.3", 80))
            assert server.recv(100) == b"x"
        world.kernel.announce(path, "eth0", ("172.17.0.2", "fd00::2"))


def packet_socket(path: str) -> socket.socket:
    return socket_in(path, socket.SOCK_DGRAM, socket.AF_PACKET)


@pytest.mark.root
def test_a_daemon_finds_what_the_last_one_left_and_nobody_else_may_change_it(tmp_path: Path) -> None:
    folder = tmp_path / "netns"
    path = str(folder / "c1")
    desired = state_of([Namespace(path), guard(path, "10.0.0.2")])
    with hosts(main="10.211.55.4/24") as made:
        host = made["main"]
        kernel = host.call(LinuxKernel, folder)
        host.call(kernel.apply, diff({}, desired))
        host.call(kernel.close)
        kernel = host.call(LinuxKernel, folder)
        try:
            assert diff(host.call(kernel.read), desired) == Plan()
            assert nft(path, "delete", "table", "inet", TABLE).returncode
            nft(path, "flush", "ruleset")
            assert diff(host.call(kernel.read), desired) == Plan()
            shown = nft(path, "list", "ruleset").stdout
            assert '"eth0" : goto end-80' in shown and "tcp dport vmap @ports-80" in shown, shown
            other = guard(path, "10.0.0.9")
            host.call(kernel.apply, diff(host.call(kernel.read), desired | state_of([other])))
            assert "10.0.0.9" in nft(path, "list", "ruleset").stdout
        finally:
            host.call(lambda: kernel.apply(diff(kernel.read(), {})))
            host.call(kernel.close)
    assert list(folder.iterdir()) == []


@pytest.mark.root
def test_where_the_table_is_not_owned_what_others_do_to_it_is_undone(tmp_path: Path) -> None:
    folder = tmp_path / "netns"
    path = str(folder / "c1")
    desired = state_of([Namespace(path), guard(path, "10.0.0.2")])
    with hosts(main="10.211.55.4/24") as made:
        host = made["main"]
        kernel = host.call(LinuxKernel, folder, owned_table=False)
        watch = host.call(kernel.watch)
        try:
            host.call(kernel.apply, diff({}, desired))
            assert not host.call(watch.lost)
            for harm in (
                "flush chain inet {0} input",
                "add element inet {0} ip-a {{ 10.0.0.9 }}",
                "delete table inet {0}",
            ):
                assert not nft(path, harm.format(TABLE)).returncode
                assert host.call(watch.lost), harm
                plan = diff(host.call(kernel.read), desired)
                assert plan, harm
                host.call(kernel.apply, plan)
                assert not host.call(watch.lost), harm
                assert diff(host.call(kernel.read), desired) == Plan()
            shown = nft(path, "list", "ruleset").stdout
            assert "10.0.0.9" not in shown and "iifname vmap @in" in shown
        finally:
            host.call(lambda: kernel.apply(diff(kernel.read(), {})))
            host.call(kernel.close)


def nft(path: str, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["nsenter", f"--net={path}", "nft", *words], capture_output=True, text=True, timeout=10)
