"""`pipework`: every form of its command line, and what it asks of the daemon."""

from __future__ import annotations

from typing import Any

import pytest
from fake_daemon import Answer, FakeDaemon

from conftest import Command

STATIC = {"HostInterface": "br1", "Address": "10.1.1.2/24"}


@pytest.mark.parametrize(
    ("typed", "body"),
    [
        ("br1 c 10.1.1.2/24", STATIC),
        ("br1 c 10.1.1.2/24@10.1.1.1", {**STATIC, "Gateway": "10.1.1.1"}),
        ("br1 -i net0 c 10.1.1.2/24", {**STATIC, "Interface": "net0"}),
        ("br1 -l mine c 10.1.1.2/24", {**STATIC, "HostEnd": "mine"}),
        ("br1 -a 4 c 10.1.1.2/24", {**STATIC, "Family": "4"}),
        ("br1 -i i -l l -a 4 c 10.1.1.2/24", {**STATIC, "Interface": "i", "HostEnd": "l", "Family": "4"}),
        ("-i net0 br1 c 10.1.1.2/24", {**STATIC, "Interface": "net0"}),
        ("br1 -a 6 c fd00::2/64@fd00::1", {
            "HostInterface": "br1", "Family": "6", "Address": "fd00::2/64", "Gateway": "fd00::1"}),
        ("br1 c 10.1.1.2/24 fa:de:b0:99:52:1c", {**STATIC, "MacAddress": "fa:de:b0:99:52:1c"}),
        ("br1 c 10.1.1.2/24 U:some", {**STATIC, "MacAddress": "U:some"}),
        ("br1 c 10.1.1.2/24 @10", {**STATIC, "Vlan": "10"}),
        ("br1 c 10.1.1.2/24 U:some@10", {**STATIC, "MacAddress": "U:some", "Vlan": "10"}),
        ("mac:fa:de:b0:99:52:1c c 10.1.1.2/24", {**STATIC, "HostInterface": "mac:fa:de:b0:99:52:1c"}),
        ("--direct-phys eth1 c 10.1.1.2/24", {**STATIC, "HostInterface": "eth1", "Direct": True}),
        ("br1 c dhcp", {"HostInterface": "br1", "Dhcp": {"Stays": True, "Options": ""}}),
        ("br1 c dhcp:-a -t 9", {"HostInterface": "br1", "Dhcp": {"Stays": True, "Options": "-a -t 9"}}),
        *(
            (f"br1 c {word}{more}", {
                "HostInterface": "br1", "Dhcp": {"Client": client, "Stays": stays, "Options": more[1:]}})
            for word, client, stays in (
                ("udhcpc", "udhcpc", False), ("udhcpc-f", "udhcpc", True), ("dhclient", "dhclient", False),
                ("dhclient-f", "dhclient", True), ("dhcpcd", "dhcpcd", True),
            )
            for more in ("", ":-o x:y")
        ),
        ("br1 c 10.1.1.2", {"HostInterface": "br1", "Address": "10.1.1.2"}),  # the daemon says what is missing
    ],
)  # fmt: skip
def test_what_is_asked(typed: str, body: dict[str, Any], linkspan: Command, daemon: FakeDaemon) -> None:
    daemon.on["POST /containers/c/interfaces"] = Answer(201, {})
    # Options are one word with spaces in it.
    words = typed.split(" ") if ":-" not in typed else [*typed.split(" ", 2)[:2], typed.split(" ", 2)[2]]
    done = linkspan("pipework", *words)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    (asked,) = daemon.asked
    assert asked.json == body


@pytest.mark.parametrize("program", ["route", "rule", "tc"])
def test_programs_get_their_words_as_they_are(program: str, linkspan: Command, daemon: FakeDaemon) -> None:
    told = {"ExitCode": 2, "Stdout": "out\n", "Stderr": "why\n"}
    daemon.on[f"POST /containers/c/network/{program}"] = Answer(200, told)
    done = linkspan("pipework", program, "c", "add", "-i", "--wait", "x", "--help")
    assert (done.returncode, done.stdout, done.stderr) == (2, b"out\n", b"why\n")
    assert daemon.asked[0].json == {"Arguments": ["add", "-i", "--wait", "x", "--help"]}


def test_what_dhcp_gave_is_printed(linkspan: Command, daemon: FakeDaemon) -> None:
    daemon.on["POST /containers/c/interfaces"] = Answer(201, {"Dhcp": {"Stays": True}, "Address": "10.1.1.9/24"})
    assert linkspan("pipework", "br1", "c", "dhcp").stdout == b"10.1.1.9/24\n"


def test_taking_away(linkspan: Command, daemon: FakeDaemon) -> None:
    for words, path in ((("c",), "eth1"), (("-i", "net0", "c"), "net0")):
        daemon.on[f"DELETE /containers/c/interfaces/{path}"] = Answer(204)
        assert linkspan("pipework", "--remove", *words).returncode == 0
    assert [asked.verb.rpartition("/")[2] for asked in daemon.asked] == ["eth1", "net0"]


def test_waiting(linkspan: Command, daemon: FakeDaemon) -> None:
    """In a container, whether there is one yet or not; and here: lo is always there, and its carrier is."""
    there: dict[str, Any] = {"State": {"Running": True}, "NetworkSettings": {"Interfaces": []}}

    def given(address: str, dhcp: Any) -> Answer:
        one = {"Name": "eth1", "Address": address, "Dhcp": dhcp}
        return Answer(200, {**there, "NetworkSettings": {"Interfaces": [one]}})

    for last in (given("10.1.1.2/24", None), given("10.1.1.2/24", {}), given("", None)):
        daemon.asked.clear()
        answers = [
            Answer(404, {"message": "No such container: c"}),
            Answer(200, there),
            given("", {"Stays": True}),
            last,
        ]
        daemon.on["GET /containers/c/json"] = lambda asked, answers=answers: answers.pop(0)
        assert linkspan("pipework", "--wait", "c").returncode == 0
        assert len(daemon.asked) == 4
    assert linkspan("pipework", "--wait", "-i", "lo").returncode == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "requires an interface of the host, a container and an address"),
        (("br1", "c"), "requires an interface of the host, a container and an address"),
        (("br1", "c", "10.1.1.2/24", "mac", "more"), "requires an interface of the host"),
        (("br1", "--nonsense", "c", "10.1.1.2/24"), "unknown flag: --nonsense"),
        (("route",), "route needs a container"),
        (("--remove",), "--remove needs a container"),
        (("--wait", "a", "b"), "--wait waits in one container"),
    ],
)
def test_bad_command_lines(words: tuple[str, ...], said: str, linkspan: Command, daemon: FakeDaemon) -> None:
    done = linkspan("pipework", *words)
    assert done.returncode != 0 and said in done.stderr.decode() and daemon.asked == []
    assert "Traceback" not in done.stderr.decode()


@pytest.mark.parametrize("words", [("--help",), ("br1", "--help")])
def test_help(words: tuple[str, ...], linkspan: Command) -> None:
    text = linkspan("pipework", *words).stdout.decode()
    assert "pipework route|rule|tc CONTAINER" in text and "--direct-phys" in text and "U:STRING" in text
