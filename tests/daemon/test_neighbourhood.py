"""What the daemon says of other firewalls, and when it has something to do."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from linkspan.daemon.neighbourhood import Neighbourhood
from linkspan.daemon.programmer import Programmer
from linkspan.kernel.fake import FakeKernel
from linkspan.state.neighbours import Dropping, Neighbours
from linkspan.state.objects import ForwardAccept

FORWARD = ForwardAccept("ip", "filter", "FORWARD")
POLICY = Dropping(FORWARD, "its policy is drop")
REFUSED = Dropping(FORWARD, "its policy is drop", "it may not be changed")


@pytest.fixture
def kernel() -> FakeKernel:
    return FakeKernel()


@pytest.fixture
def programmer(kernel: FakeKernel) -> Iterator[Programmer]:
    made = Programmer(lambda: kernel)
    yield made
    made.close()


def look(found: Neighbourhood) -> bool:
    return asyncio.run(found.look())


def test_a_rule_is_wanted_once(kernel: FakeKernel, programmer: Programmer, caplog: pytest.LogCaptureFixture) -> None:
    found = Neighbourhood(programmer, accept=True)
    caplog.set_level("INFO")
    assert not look(found) and found.rows() == found.warnings() == []
    kernel.others = Neighbours((POLICY,))
    assert look(found)
    kernel.state[FORWARD.key] = FORWARD
    assert not look(found)
    assert found.rows() == [["ForwardAccept", "ip filter FORWARD (its policy is drop)"]] and not found.warnings()
    kernel.state[FORWARD.key] = ForwardAccept("ip", "filter", "FORWARD", in_place=False)
    assert look(found)
    kernel.state[FORWARD.key] = FORWARD
    kernel.others = Neighbours((POLICY,), guarded=frozenset({"dock0"}))
    assert look(found) and not look(found)
    kernel.others = Neighbours()
    assert look(found)  # it is not needed any more
    del kernel.state[FORWARD.key]
    assert not look(found)
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]


def test_what_cannot_be_is_told(kernel: FakeKernel, programmer: Programmer, caplog: pytest.LogCaptureFixture) -> None:
    found = Neighbourhood(programmer, accept=True)
    kernel.others = Neighbours((REFUSED,))
    assert not look(found) and not look(found)
    assert found.rows() == []
    (warning,), (record,) = found.warnings(), caplog.records
    assert warning == f"WARNING: {record.message}" and warning.endswith("could not be put there: it may not be changed")


def test_turned_off(kernel: FakeKernel, programmer: Programmer) -> None:
    found = Neighbourhood(programmer, accept=False)
    kernel.others = Neighbours((POLICY,))
    assert not look(found) and found.rows() == []
    assert found.warnings()[0].endswith("--forward-accept=true lets ours pass")
    kernel.state[FORWARD.key] = FORWARD
    assert look(found)  # left by a daemon that had it turned on
