"""Verbs that do one thing to each container named: they go on after an error, and print what succeeded."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence

from linkspan.cli.client import Client
from linkspan.cli.failure import EngineError, Failure
from linkspan.cli.flags import Invocation

AT_ONCE = 50
Act = Callable[[Client, str], None]


def each(call: Invocation, act: Act, *, in_order: bool = False, failed: list[str] | None = None) -> int:
    """Acts on the names given, all at once unless `in_order`; prints, in order, those done and the daemon's errors.

    Answers the exit status; `failed` gathers the names where it did not work.
    """
    status = 0
    for name, failure in _outcomes(call.client, act, call.arguments, in_order=in_order):
        if failure is None:
            print(name)
            continue
        sys.stdout.flush()
        print(failure, file=sys.stderr)
        status = max(status, failure.status)
        if failed is not None:
            failed.append(name)
    return status


def _outcomes(
    client: Client, act: Act, names: Sequence[str], *, in_order: bool
) -> Iterable[tuple[str, Failure | None]]:
    def outcome(name: str, asked: Client) -> tuple[str, Failure | None]:
        try:
            act(asked, name)
        except EngineError as error:
            return name, error
        return name, None

    if in_order or len(names) == 1:
        return (outcome(name, client) for name in names)
    from concurrent.futures import ThreadPoolExecutor

    # A client each: a client has one connection, and stopping may take ten seconds.
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(lambda name: outcome(name, Client(client.address)), names))
