"""Other firewalls' real chains: read, given a rule, and left as they were."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest

from linkspan.kernel.neighbours import Others, parse_legacy
from linkspan.state.neighbours import Chain, Neighbours, Rule
from linkspan.state.objects import ForwardAccept
from tests.hosts import Host, hosts

pytestmark = pytest.mark.root

IPTABLES = ForwardAccept("ip", "filter", "FORWARD")
LEGACY = ForwardAccept("ip", "", "FORWARD")
NATIVE = ForwardAccept("inet", "fw", "forward")
OURS = "-A FORWARD -m mark --mark 0x6c000000/0x6c000000 -m comment --comment linkspan -j ACCEPT"


@pytest.fixture
def host() -> Iterator[Host]:
    with hosts(host="10.0.0.1/24") as made:
        yield made["host"]


@pytest.fixture
def others(host: Host) -> Iterator[Others]:
    made = host.call(Others)
    yield made
    host.call(made.close)


def native(host: Host, rules: str, table: str = "inet fw") -> None:
    host.run("nft", "-f", "-", stdin=f"table {table} {{\n chain forward {{\n {rules}\n }}\n }}\n")


def test_nobody_else(host: Host, others: Others) -> None:
    assert host.call(others.look) == Neighbours()
    native(host, "type filter hook input priority 0; policy drop;", "inet input")
    native(host, "type filter hook forward priority 0; policy accept;\n tcp dport 25 drop")
    host.run("iptables", "-A", "FORWARD", "-i", "eth7", "-j", "DROP")
    assert host.call(others.look) == Neighbours()


@pytest.mark.parametrize("command, item", [("iptables", IPTABLES), ("iptables-legacy", LEGACY)])
def test_iptables_can_read_and_save_it(host: Host, others: Others, command: str, item: ForwardAccept) -> None:
    for arguments in (
        ("-P", "FORWARD", "DROP"),
        ("-N", "DOCKER"),
        ("-A", "FORWARD", "-o", "dock0", "-j", "DOCKER"),
        ("-A", "FORWARD", "-m", "comment", "--comment", "not ours", "-j", "LOG"),
        ("-A", "FORWARD", "-p", "tcp", "--dport", "25", "-j", "DROP"),
    ):
        host.run(command, *arguments)
    before = host.run(command, "-S")
    found = host.call(others.look)
    (dropping,) = found.dropping
    assert (dropping.accept, dropping.why, dropping.refused) == (item, "its policy is drop", "")
    assert found.guarded == {"dock0"} and not found.accepting
    host.call(others.accept, item)
    host.call(others.accept, item)
    assert host.run(command, "-S") == before + OURS + "\n"
    assert host.call(others.look).accepting == {item}
    saved = host.run(f"{command}-save")
    host.run(command, "-F")
    assert not host.call(others.look).accepting
    host.run(f"{command}-restore", stdin=saved)
    assert host.call(others.look).accepting == {item}
    host.run(command, "-A", "FORWARD", "-p", "udp", "-j", "DROP")  # after ours, which would override it
    (misplaced,) = host.call(others.look).accepting
    assert not misplaced.in_place
    host.call(others.accept, item)
    assert host.run(command, "-S", "FORWARD").splitlines()[-1] == OURS
    host.call(others.withdraw, item)
    host.call(others.withdraw, item)
    assert host.run(command, "-S") == before + "-A FORWARD -p udp -j DROP\n"


def test_a_native_chain(host: Host, others: Others) -> None:
    native(host, "type filter hook forward priority 10; policy accept;\n ct state established accept\n reject")
    before = host.run("nft", "list", "ruleset")
    host.call(others.accept, NATIVE)
    assert host.call(others.look).accepting == {NATIVE}
    lines = host.run("nft", "list", "ruleset").splitlines()
    (index,) = [index for index, line in enumerate(lines) if line.endswith('accept comment "linkspan"')]
    assert "established" in lines[index - 1] and "reject" in lines[index + 1]
    assert "meta mark & 0x6c000000 == 0x6c000000 counter" in lines[index]
    host.call(others.withdraw, NATIVE)
    assert host.run("nft", "list", "ruleset") == before


def test_a_chain_that_stops_dropping(host: Host, others: Others) -> None:
    native(host, "type filter hook forward priority 0; policy drop;")
    host.call(others.accept, NATIVE)
    host.run("nft", "chain inet fw forward { policy accept; }")
    found = host.call(others.look)
    assert not found.dropping and found.accepting == {NATIVE}  # a rule that is not needed any more


def test_a_table_that_lets_nobody_in(host: Host, others: Others, caplog: pytest.LogCaptureFixture) -> None:
    code = (
        "import ctypes, sys; nft = ctypes.CDLL('libnftables.so.1'); nft.nft_ctx_new.restype = ctypes.c_void_p\n"
        "context = ctypes.c_void_p(nft.nft_ctx_new(0))\n"
        "text = b'add table inet fw { flags owner; }\\nadd chain inet fw forward "
        "{ type filter hook forward priority 0; policy drop; }'\n"
        "assert not nft.nft_run_cmd_from_buffer(context, text); print('made', flush=True); sys.stdin.read()"
    )
    owner = subprocess.Popen(
        ["nsenter", f"--net={host.path}", sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert owner.stdout is not None and owner.stdout.readline() == b"made\n"
        for _ in range(2):
            host.call(others.accept, NATIVE)
        (dropping,) = host.call(others.look).dropping
        assert dropping.refused == "the table belongs to another program, which lets nobody else change it"
        (record,) = caplog.records  # said once
        assert record.message.startswith("no rule could be put into the chain inet fw forward")
    finally:
        owner.communicate()
    assert host.call(others.look) == Neighbours()


def test_a_legacy_listing() -> None:
    listed = """-P FORWARD DROP
-N X
-A FORWARD ! -o lo -j X
-A FORWARD -o dock0 -j DOCKER
-A FORWARD -m comment --comment "it's ours" -g X
-A FORWARD -m mark --mark 0x6c000000/0x6c000000 -m comment --comment linkspan -j ACCEPT
-A X -s 10.0.0.0/8 -j RETURN
-A X -j REJECT --reject-with icmp-port-unreachable
-A X -i eth0
"""
    assert parse_legacy(listed) == {
        "FORWARD": Chain(
            (
                Rule(0, False, "jump", "X"),
                Rule(0, False, "jump", "DOCKER", leaving_by="dock0"),
                Rule(0, True, "goto", "X"),
                Rule(0, False, "accept", ours=True),
            ),
            "drop",
        ),
        "X": Chain((Rule(0, False, "return"), Rule(0, True, "drop"), Rule(0, False, ""))),
    }
