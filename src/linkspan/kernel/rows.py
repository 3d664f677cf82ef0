"""Rows of the kernel's tables: routes, neighbours, forwarding entries. There may be tens of thousands, so that as many
as possible go in one packet.
"""

from __future__ import annotations

import errno
from collections.abc import Sequence
from typing import TypeAlias

from linkspan.errors import Conflict
from linkspan.kernel import forwarding, routes, rtnetlink
from linkspan.kernel.netlink import NetlinkSocket
from linkspan.state.objects import HOST, FdbEntry, Neighbour, Route
from linkspan.state.plan import Create, Delete, Replace, Step

Row: TypeAlias = Route | Neighbour | FdbEntry

_GONE = {errno.ESRCH, errno.ENOENT, errno.ENODEV}


class Refused(Exception):
    """The kernel did not take a step; `cause` is its errno."""

    def __init__(self, step: Step, cause: OSError) -> None:
        super().__init__(step, cause)
        self.step, self.cause = step, cause


def take_rows(inside: NetlinkSocket, steps: Sequence[Step]) -> None:
    """All of one namespace. Where one is refused, the others are taken.

    Raises Refused for the first; Conflict where the host has a route to one's destination that is not ours.
    """
    indexes: dict[str, int] = {}
    requests, sent = [], []
    refused: list[Refused] = []
    for step in steps:
        row = step.before if isinstance(step, Delete) else step.after
        assert isinstance(row, Row)
        try:
            index = _index(inside, row.interface, indexes)
        except OSError as error:
            if not isinstance(step, Delete):
                refused.append(Refused(step, error))
            continue
        requests.append(_request(step, row, index))
        sent.append(step)
    there: list[Step] = []
    for number, cause in sorted(inside.batch(requests).items()):
        step = sent[number]
        if isinstance(step, Create) and isinstance(step.after, Route) and cause.errno == errno.EEXIST:
            there.append(step)
        elif not isinstance(step, Delete) or cause.errno not in _GONE:
            refused.append(Refused(step, cause))
    if there:
        _take_over(inside, there)
    if refused:
        raise refused[0]


def _index(inside: NetlinkSocket, interface: str, known: dict[str, int]) -> int:
    """0 of a route that has none."""
    if interface not in known:
        known[interface] = rtnetlink.index_of(inside, interface) if interface else 0
    return known[interface]


def _request(step: Step, row: Row, index: int) -> tuple[int, int, bytes]:
    if isinstance(row, Route):
        if isinstance(step, Delete):
            return routes.deletion(row)
        # Inside a sandbox the engine has the say; on the host somebody else's route stays as it is.
        return routes.creation(row, index, replace=isinstance(step, Replace) or row.namespace != HOST)
    return forwarding.deletion(row, index) if isinstance(step, Delete) else forwarding.creation(row, index)


def _take_over(inside: NetlinkSocket, steps: Sequence[Step]) -> None:
    """Routes that are there already: ours are replaced."""
    ours = {found.as_ours(HOST).key for found in routes.routes(inside) if found.ours}
    for step in steps:
        assert isinstance(step, Create) and isinstance(step.after, Route)
        if step.after.key not in ours:
            raise Conflict(f"a route to {step.after.destination} exists already and was not made by linkspan")
    take_rows(inside, [Replace(step.after, step.after) for step in steps if isinstance(step, Create)])
