"""DHCP clients: how each is started, and what their words mean."""

from __future__ import annotations

import asyncio
import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linkspan.errors import InvalidArgument, Unsupported
from linkspan.model.plug import Dhcp
from linkspan.runtime import dhcp
from linkspan.runtime.dhcp import Client, Told, command, parse
from linkspan.runtime.inotify import IN_CLOSE_WRITE, Inotify

SCRIPT = Path("/var/lib/linkspan/dhcp/1/script")


@pytest.fixture
def there(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The programs of this host: all of them, until a test takes some away."""
    programs = {"udhcpc", "dhclient", "dhcpcd", "busybox"}
    monkeypatch.setattr(dhcp, "find", lambda name: f"/sbin/{name}" if name in programs else "")
    return programs


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (Dhcp(client="udhcpc"), f"/sbin/udhcpc -f -i eth1 -s {SCRIPT} -x hostname:web -q -n"),
        (Dhcp(stays=True), f"/sbin/udhcpc -f -i eth1 -s {SCRIPT} -x hostname:web"),
        (Dhcp(client="udhcpc", options="-r 10.1.1.7 -x 'a b'"), "-q -n -r 10.1.1.7 -x a b"),
        (Dhcp(client="dhclient"), f"/sbin/dhclient -4 -d -sf {SCRIPT}"),
        (Dhcp(client="dhclient"), "-1 eth1"),
        (Dhcp(client="dhclient", stays=True, options="-v"), "leases -v eth1"),
        (Dhcp(client="dhcpcd", stays=True), f"/sbin/dhcpcd -4 -B -q --noconfigure -c {SCRIPT} -h web eth1"),
    ],
)
def test_command_lines(there: set[str], asked: Dhcp, said: str) -> None:
    assert said in " ".join(command(asked, "eth1", "web", SCRIPT))


def test_the_first_client_that_is_there(there: set[str]) -> None:
    there.discard("udhcpc")
    assert command(Dhcp(), "eth1", "web", SCRIPT)[:2] == ["/sbin/busybox", "udhcpc"]
    there.discard("busybox")
    assert command(Dhcp(), "eth1", "web", SCRIPT)[0] == "/sbin/dhclient"
    with pytest.raises(Unsupported, match="no DHCP client udhcpc on this host"):
        command(Dhcp(client="udhcpc"), "eth1", "web", SCRIPT)
    there.clear()
    with pytest.raises(Unsupported, match="no DHCP client \\(udhcpc, dhclient, dhcpcd\\) on this host"):
        command(Dhcp(), "eth1", "web", SCRIPT)


def test_options_that_are_no_words(there: set[str]) -> None:
    with pytest.raises(InvalidArgument, match="no closing quotation"):
        command(Dhcp(options="-x 'open"), "eth1", "web", SCRIPT)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("bound 10.1.1.7 24 10.1.1.1 10.1.1.2", Told("10.1.1.7", 24, "10.1.1.1")),
        ("renew 10.1.1.7 24", Told("10.1.1.7", 24)),
        ("REBOOT 10.1.1.7 255.255.254.0 10.1.1.1", Told("10.1.1.7", 23, "10.1.1.1")),
        ("deconfig - -", Told()),
        ("EXPIRE - -", Told()),
        ("PREINIT - -", None),
        ("leasefail - -", None),
        ("bound - -", None),
        ("bound 10.1.1.7 255.0.255.0", None),
        ("bound 10.1.1.7 24 nonsense", None),
        ("", None),
    ],
)
def test_what_a_line_means(line: str, told: Told | None) -> None:
    assert parse(line) == told


@given(st.one_of(st.text(), st.builds(lambda text: f"bound {text}", st.text())))
def test_nothing_else_escapes(line: str) -> None:
    told = parse(line)
    assert told is None or isinstance(told, Told)


@pytest.mark.root
def test_a_client_is_found_again_and_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By another daemon: by its process id and when it was started. Its lines are read once, when they are whole."""
    program = tmp_path / "udhcpc"
    program.write_text('#!/bin/sh\nip=10.1.1.7 mask=24 router="10.1.1.1 10.1.1.2" "$5" bound\nexec sleep 60\n')
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setattr(dhcp, "find", lambda name: str(program))
    monkeypatch.setattr(dhcp, "entering", lambda namespace, words: list(words))
    folder = tmp_path / "it's a client"

    async def live() -> None:
        first = Client(folder)
        await first.start("", "eth1", "web", Dhcp(client="udhcpc"))
        with Inotify(folder, IN_CLOSE_WRITE) as changes:
            while not (said := first.news()):
                await asyncio.wait_for(changes.names(), 10)
        assert said == [Told("10.1.1.7", 24, "10.1.1.1")] and first.news() == []
        with (folder / "said").open("a") as file:
            file.write("deconfig - ")
        assert first.news() == []
        second = Client(folder)
        assert second.pid == first.pid > 0 and second.news() == said
        pid = second.pid
        await second.end()
        assert not folder.exists() and second.pid == 0
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
        await second.end()  # nothing there is success
        await asyncio.wait_for(second.ended(), 1)

    asyncio.run(live())
