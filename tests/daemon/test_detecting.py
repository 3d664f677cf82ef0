"""Asking before an address is used: who answers, who does not, how long it takes, and what is remembered."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator

import pytest

from linkspan.daemon.detecting import Detecting
from linkspan.engine.detection import Occupied, questions
from linkspan.model.endpoint import Endpoint
from linkspan.model.network import Network
from linkspan.model.snapshot import Snapshot, put

LAN = Network(
    id="lan", name="lan", driver="flat", created="", path="bridge", bridge="fl-eth0", parent="eth0", detects=True
)
STRANGER, OWN = "0a:00:00:00:00:01", "02:42:0a:00:00:01"


def endpoint(number: int, **more: str) -> Endpoint:
    return Endpoint(
        id=f"e{number}",
        network_id="lan",
        sandbox_id="s",
        container_id=f"c{number}",
        mac=OWN,
        address=f"10.0.0.{number}",
        **more,
    )


class Line:
    """An interface on which some addresses are answered for, by a MAC."""

    opened = 0

    def __init__(self, answers: dict[str, str]) -> None:
        self.answers, self.asked, self.closed = answers, list[str](), False
        self._heard = list[tuple[str, str]]()
        self._reading, self._writing = os.pipe()

    def fileno(self) -> int:
        return self._reading

    def ask(self, address: str) -> None:
        self.asked.append(address)
        if mac := self.answers.get(address):
            self._heard.append((address, mac))
            os.write(self._writing, b".")

    def claims(self) -> Iterator[tuple[str, str]]:
        os.read(self._reading, 1000)
        heard, self._heard = self._heard, []
        return iter(heard)

    def close(self) -> None:
        self.closed = True
        os.close(self._reading)
        os.close(self._writing)


def check(detecting: Detecting, *endpoints: Endpoint) -> float:
    """How long it took."""
    writes = [put(one) for one in endpoints]
    before = Snapshot().after([put(LAN)])
    begun = time.monotonic()
    asyncio.run(detecting.check(before, before.after(writes), writes))
    return time.monotonic() - begun


def test_a_hundred_are_asked_about_at_once() -> None:
    line = Line({})
    took = check(Detecting(lambda name: line), *(endpoint(number) for number in range(1, 101)))
    assert 0.2 < took < 5  # a hundred at once; one after the other they take 24 s
    assert len(line.asked) == 300 and line.closed


def test_somebody_answers() -> None:
    line = Line({"10.0.0.2": STRANGER, "10.0.0.3": OWN})
    detecting = Detecting(lambda name: line)
    with pytest.raises(Occupied, match=f"10.0.0.2: the machine with the MAC address {STRANGER} has it on the segment"):
        check(detecting, endpoint(1), endpoint(2), endpoint(3))
    assert detecting.occupied == {("lan", 0x0A000002)}
    assert line.closed


def test_the_bridge_may_not_be_there_yet() -> None:
    asked = []

    def opened(name: str) -> Line:
        asked.append(name)
        if name == "fl-eth0":
            raise OSError
        return Line({"10.0.0.1": STRANGER})

    with pytest.raises(Occupied):
        check(Detecting(opened), endpoint(1))
    assert asked == ["fl-eth0", "eth0"]

    def nothing(name: str) -> Line:
        raise OSError

    check(Detecting(nothing), endpoint(1))


def test_what_is_asked() -> None:
    before = Snapshot().after([put(LAN), put(endpoint(1))])
    again, six = put(endpoint(1, interface="eth0")), put(endpoint(2, address6="fd00::2"))
    asked = list(questions(before, before.after([again, six]), [again, six]))
    assert [one.address for one in asked] == ["10.0.0.2", "fd00::2"]
    assert asked[0].interfaces == ("fl-eth0", "eth0")
