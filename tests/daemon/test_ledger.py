"""The records, and beside them those without what is still being asked elsewhere."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from linkspan.daemon.ledger import Asked, Ledger
from linkspan.model.cluster import Block
from linkspan.model.snapshot import Snapshot, Write, drop, put
from linkspan.store.memory import MemoryStore


def block(number: int, host: str) -> Block:
    return Block(id=f"n/{number}", network_id="n", subnet=f"10.9.{number}.0/24", host_id=host)


def writing(number: int, host: str) -> Write:
    """`host` has a block from now on; "" for nobody."""
    return put(block(number, host)) if host else drop(block(number, ""))


HOSTS = st.sampled_from(("", "a", "b", "c"))
COMMIT, ASK, GRANT, REFUSE = range(4)


@given(st.lists(st.tuples(st.integers(COMMIT, REFUSE), st.integers(0, 5), HOSTS)))
def test_what_is_told_is_what_is_committed_and_granted(steps: list[tuple[int, int, str]]) -> None:
    """As long as nobody else writes what is being asked."""
    ledger = Ledger(MemoryStore())
    asked: dict[int, Asked] = {}
    told = Snapshot()
    for step, number, host in steps:
        write = writing(number, host)
        match step:
            case 0 if number not in asked:
                ledger.commit([write])
                told = told.after([write])
            case 1 if number not in asked:
                asked[number] = ledger.ask([write])
            case 2 if number in asked:
                told = told.after(asked[number].writes)
                ledger.grant(asked.pop(number))
            case 3 if number in asked:
                assert not ledger.refuse(asked.pop(number))
        assert ledger.told == told
        assert asked or ledger.told is ledger.now
    assert ledger.now == told.after(write for one in asked.values() for write in one.writes)


@given(st.lists(st.tuples(st.integers(COMMIT, REFUSE), st.integers(0, 1), HOSTS, st.integers(0, 9))))
def test_whoever_writes_what_is_being_asked(steps: list[tuple[int, int, str, int]]) -> None:
    """Nothing is taken back that another has written since; and what nobody asks any more, the kernel was told as it
    is, or it is said that it may not have been."""
    ledger = Ledger(MemoryStore())
    asked: list[Asked] = []
    tangled = False
    for step, number, host, which in steps:
        before = ledger.now
        said = False
        if step == COMMIT:
            ledger.commit([writing(number, host)])
        elif step == ASK:
            tangled |= any(write.id == block(number, "").id for one in asked for write in one.writes)
            asked.append(ledger.ask([writing(number, host)]))
        elif asked:
            one = asked.pop(which % len(asked))
            (write,) = one.writes
            if step == GRANT:
                said = ledger.grant(one)
                assert ledger.now == before
            else:
                said = ledger.refuse(one)
                assert ledger.now == before or before.get("block", write.id) == write.record
        if not asked:
            assert ledger.told is ledger.now
            assert said is tangled
            tangled = False
        still = {write.id for one in asked for write in one.writes}
        for id_ in set() if tangled else {block(n, "").id for n in range(2)} - still:
            assert ledger.told.get("block", id_) == ledger.now.get("block", id_)
