"""Rows measured on the engine alone: attach and publish, with ports there already, with many endpoints there."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from demo.console import Console

from bench.place import TIDYING, Place, settle
from bench.rows import TIMES, Row, Samples, Section, milliseconds
from bench.worker import Worker

LIMIT_MS = 3.0
FASTER = 15.0
THERE = 10_000
ENDPOINTS = 1_000
GROWTH = 1.5


def attach(place: Place, console: Console, runs: int) -> Section:
    """Ours, netavark and the CNI plugins in turns, each with one endpoint there already, so that the bridge is."""
    workers: dict[str, Worker] = {}
    for name in ("linkspan", "netavark", "cni"):
        _, workers[name] = place.worker(f"bench.attach_{name}", name)
        workers[name].call("attach", ports=[20000])
    made: dict[str, list[dict[str, Any]]] = defaultdict(list)
    gone: dict[str, list[dict[str, Any]]] = defaultdict(list)
    with console.working("attach and publish"):
        for number in range(-1, runs):  # the first is to warm up
            for name, worker in workers.items():
                done = worker.call("attach", ports=[20001])
                undone = worker.call("detach", id=done["id"])
                settle()
                if number >= 0:
                    made[name].append(done)
                    gone[name].append(undone)
    ours = _samples(made["linkspan"])
    rows = [
        Row(
            "attach a sandbox to a bridge and publish a port, with the namespace made",
            ours,
            (("netavark", _samples(made["netavark"])), ("CNI", _samples(made["cni"]))),
            f"≤ {LIMIT_MS:.0f} ms",
            limit=LIMIT_MS,
        )
    ]
    alike = milliseconds([one["seconds"] - one["phases"].get("apply: Namespace", 0.0) for one in made["linkspan"]])
    for peer, title in (("netavark", "netavark"), ("cni", "CNI bridge + portmap")):
        samples = _samples(made[peer])
        faster = samples.median / alike.median
        budget = f"≥ {FASTER:.0f}{TIMES} faster than {title}"
        rows.append(
            Row("the same, the namespace there", alike, ((title, samples),), budget, faster, FASTER, at_least=True)
        )
    rows.append(
        Row(
            "detach and unpublish",
            _samples(gone["linkspan"]),
            (("netavark", _samples(gone["netavark"])), ("CNI", _samples(gone["cni"]))),
        )
    )
    return Section(
        "Attach a sandbox to a bridge and publish a port (engine only)",
        tuple(rows),
        "linkspan: in this process as in the daemon, from the decision to the last kernel answer: address, MAC and"
        " port chosen; records committed to SQLite, not waiting for the disk; both states rendered, their "
        "difference; hop to the kernel thread; namespace made and held by a mount, host port reserved by a bound "
        "socket, veth pair, addresses, route, one nftables transaction. netavark: `netavark setup`; CNI: `bridge` "
        "(with host-local) ADD and `portmap` ADD; each from the start of the program to its end. Their callers "
        "make the namespace and keep the records; so where we are held against them, the making of the namespace "
        "is left out of our time too, and the commit is not. One endpoint is attached before, so that the bridge "
        "is there; after each removal the "
        f"kernel gets {TIDYING} s to tidy up.",
        (
            ("linkspan, attach", phases(made["linkspan"])),
            ("linkspan, detach", phases(gone["linkspan"])),
            ("CNI", phases(made["cni"])),
        ),
    )


def crowded(place: Place, console: Console, runs: int) -> Section:
    """One port with 10,000 there already, and one endpoint with 1,000 there, each against none in turns."""
    names = ("empty", "ports", "endpoints")
    hosts, workers = zip(*(place.worker("bench.attach_linkspan", name) for name in names), strict=True)
    empty, ports, endpoints = workers
    base: dict[Worker, str] = {}
    for worker in workers:
        base[worker] = worker.call("attach", ports=[10000])["id"]
    with console.working(f"{THERE} published ports"):
        filled = ports.call("attach", ports=list(range(20000, 20000 + THERE)))
    with console.working(f"{ENDPOINTS} endpoints"):
        # Each measured one is taken away again: it is the 1,000th each time.
        for _ in range(ENDPOINTS - 2):
            endpoints.call("attach", ports=[])
    publishing: dict[Worker, list[dict[str, Any]]] = defaultdict(list)
    attaching: dict[Worker, list[dict[str, Any]]] = defaultdict(list)
    for number in range(-1, runs):
        for worker in workers:
            published = worker.call("publish", id=base[worker], port=10001)
            worker.call("unpublish", id=base[worker], port=10001)
            attached = worker.call("attach", ports=[10001])
            worker.call("detach", id=attached["id"])
            settle()
            if number >= 0:
                publishing[worker].append(published)
                attaching[worker].append(attached)
    for host in hosts:
        place.end_host(host)
    rows = (
        _against("publish one port", f"{THERE:,} ports there", publishing[ports], publishing[empty], GROWTH),
        _against("attach and publish one port", f"{THERE:,} ports there", attaching[ports], attaching[empty], GROWTH),
        _against(
            "attach and publish one port",
            f"the {ENDPOINTS:,}th endpoint",
            attaching[endpoints],
            attaching[empty],
            GROWTH,
        ),
        Row(f"{THERE:,} ports of one container at once", milliseconds([filled["seconds"]])),
    )
    return Section(
        "With much there already (engine only)",
        rows,
        "As above, against an engine that holds one endpoint with one port (in the columns of the peer), in turns. "
        "“Publish one port” is what `linkspan publish` does to a container that runs: decision, commit (durable: it is "
        "recorded with the container), difference, bound socket, elements.",
        (
            (f"attach, {THERE:,} ports there", phases(attaching[ports])),
            (f"attach, the {ENDPOINTS:,}th endpoint", phases(attaching[endpoints])),
            ("attach, one endpoint there", phases(attaching[empty])),
            (f"publish, {THERE:,} ports there", phases(publishing[ports])),
            ("publish, one port there", phases(publishing[empty])),
            (f"{THERE:,} ports at once", phases([filled])),
        ),
    )


def _against(
    what: str, where: str, ours: Sequence[dict[str, Any]], others: Sequence[dict[str, Any]], limit: float
) -> Row:
    mine, theirs = _samples(ours), _samples(others)
    factor = mine.median / theirs.median
    return Row(f"{what}, {where}", mine, (("with none", theirs),), f"≤ {limit}{TIMES}", factor, limit)


def _samples(done: Sequence[dict[str, Any]]) -> Samples:
    return milliseconds([one["seconds"] for one in done])


def phases(done: Sequence[dict[str, Any]]) -> tuple[tuple[str, float], ...]:
    """Each phase's median in milliseconds, in the order in which they end."""
    names = list(dict.fromkeys(name for one in done for name in one.get("phases", {})))
    return tuple((name, statistics.median(one["phases"].get(name, 0.0) for one in done) * 1000) for name in names)
