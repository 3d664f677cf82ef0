"""The authorities of a mesh, one after the other: their numbers, and when all hosts go over to the next.

The first has the number 0. Each that comes after has a higher one, and who meets a higher one follows it. What a
`mesh recover` goes on with counts for more than whatever the others have made of their own meanwhile.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

_RECOVERY = 1_000_000
PATIENCE = 10.0  # seconds, for hosts that answer and do not have the next one yet


def following(number: int) -> int:
    return number + 1


def recovered(number: int) -> int:
    """The number of the first one after a recovery."""
    return (number // _RECOVERY + 1) * _RECOVERY


def of_one_store(one: int, other: int) -> bool:
    """Whether there was no recovery between two."""
    return one // _RECOVERY == other // _RECOVERY


def is_time(
    number: int, newest: Mapping[str, int], voters: Sequence[str], answering: Collection[str], waited: float
) -> bool:
    """Whether hosts go over to the authority of this number: the store has to go on with those that do.

    `newest` is by host the number of the newest that it has the key of. `voters` are hosts with a vote in the store, ""
    for one that is no host any more. `waited` is for how many seconds this host has been ready.
    """
    ready = {host for host, held in newest.items() if held >= number}
    if 2 * sum(voter in ready for voter in voters) <= len(voters):
        return False
    return waited > PATIENCE or all(host in ready for host in newest if host in answering)
