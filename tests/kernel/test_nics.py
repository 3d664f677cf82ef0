"""Network cards that move: wireless ones, as far as they can be tried without one, and names that are taken."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from linkspan.errors import Conflict, Unsupported
from linkspan.kernel import wireless
from linkspan.kernel.linux import LinuxKernel
from linkspan.kernel.netlink import attributes, u16, u32
from linkspan.state.objects import Namespace, Nic, state_of
from linkspan.state.plan import diff
from tests.hosts import hosts


@pytest.mark.root
def test_what_cannot_move_stays_where_it_is(tmp_path: Path) -> None:
    with hosts(main="10.211.55.4/24") as made:
        host = made["main"]
        kernel = host.call(LinuxKernel, tmp_path / "netns")
        try:
            path = str(tmp_path / "netns" / "c1")
            card = host.call(kernel.interface, "eth0")
            nic = Nic(path, "wlan0", "eth0", card.mac, wireless=True)
            if not _has_wireless():
                with pytest.raises(Unsupported, match="the running kernel lacks cfg80211"):
                    host.call(kernel.apply, diff({}, state_of([Namespace(path), nic])))
            host.call(kernel.apply, diff({}, state_of([Namespace(path)])))
            host.run("nsenter", f"--net={path}", "ip", "link", "add", "wlan0", "type", "bridge")
            with pytest.raises(Conflict, match="wlan0 exists already"):
                host.call(kernel.apply, diff({}, state_of([dataclasses.replace(nic, wireless=False)])))
            there = host.call(kernel.interface, "eth0")
            assert (there.index, there.alias, there.addresses) == (card.index, "", card.addresses)
            host.call(kernel.apply, diff(host.call(kernel.read), {}))
        finally:
            host.call(kernel.close)


def _has_wireless() -> bool:
    with contextlib.suppress(Unsupported), contextlib.closing(wireless.NetlinkSocket(16)) as connection:
        return bool(wireless._family(connection))
    return False


class Radio:
    """What nl80211 answers, for one card."""

    def __init__(self, asked: list[tuple[int, int, dict[int, bytes]]]) -> None:
        self._asked = asked

    def request(self, requests: Sequence[tuple[int, int, bytes]]) -> list[list[bytes]]:
        ((kind, _, body),) = requests
        command = body[0]
        self._asked.append((kind, command, attributes(body, 4)))
        if kind == 16:
            return [[bytes(4) + u16(1, 28)]]
        if command == 5:
            return [[bytes(4) + u32(1, 3)]]
        return [[]]

    def close(self) -> None:
        pass


class NoNamespaces:
    @contextlib.contextmanager
    def inside(self, path: str) -> Iterator[None]:
        assert path == "/n/a"
        yield


def test_a_radio_is_found_by_its_card_and_moves(monkeypatch: pytest.MonkeyPatch) -> None:
    """Family, then the card's radio, then that into the namespace of the descriptor (linux/nl80211.h)."""
    asked: list[tuple[int, int, dict[int, bytes]]] = []
    monkeypatch.setattr(wireless, "NetlinkSocket", lambda protocol: Radio(asked))
    namespaces: Any = NoNamespaces()
    wireless.move(namespaces, "/n/a", 7, 99)
    number = struct.Struct("=I").pack
    assert asked == [
        (16, 3, {2: b"nl80211\0"}),
        (28, 5, {3: number(7)}),
        (28, 49, {1: number(3), 219: number(99)}),
    ]


def test_other_errors_are_the_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    class Refusing(Radio):
        def request(self, requests: Sequence[tuple[int, int, bytes]]) -> list[list[bytes]]:
            raise OSError(errno.EPERM, "not permitted")

    monkeypatch.setattr(wireless, "NetlinkSocket", lambda protocol: Refusing([]))
    namespaces: Any = NoNamespaces()
    with pytest.raises(OSError, match="not permitted"):
        wireless.move(namespaces, "/n/a", 7, 99)


def test_wireless_cards_are_told_by_sysfs() -> None:
    assert wireless.wireless(["lo", "no such interface"]) == frozenset()
