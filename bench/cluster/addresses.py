"""1,000 containers into exactly 1,000 addresses of a flat network: none is left over, none is given twice."""

from __future__ import annotations

import concurrent.futures
import ipaddress
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TypeVar

from demo.console import Console

from bench.cluster.ways import Cluster, address_of
from bench.daemons import Daemon

SUBNET = ipaddress.IPv4Network("10.60.0.0/20")
T = TypeVar("T")
AT_ONCE = 4  # starts on each host


def fill(cluster: Cluster, count: int, console: Console) -> Sequence[str]:
    """Paragraphs for the results. Raises RuntimeError where an address is missing or given twice."""
    daemons = list(cluster.daemons.values())
    # All but `count` of the subnet's addresses are excluded: its own, the broadcast's and the gateway's are nobody's.
    first = daemons[0]
    window = next(SUBNET.subnets(new_prefix=32 - (count + 2).bit_length()))
    usable = list(window.hosts())[1:]
    excluded = [word for n, a in enumerate(usable[count:]) for word in ("--aux-address", f"x{n}={a}")]
    options = (
        "-d",
        "flat",
        "-o",
        "parent=eth0",
        "--subnet",
        str(window),
        "--gateway",
        str(next(window.hosts())),
        *excluded,
    )
    first.docker("network", "create", *options, "full")
    cluster.known("full")
    with console.working(f"{count:,} containers into {count:,} addresses"):
        created = _each(daemons, count, lambda daemon, number: daemon.create(network="full", name=f"full-{number}"))
        began = time.perf_counter()
        _each(daemons, count, lambda daemon, number: daemon.run(created[number]))
        seconds = time.perf_counter() - began
        held = Counter(_each(daemons, count, lambda daemon, number: address_of(daemon, created[number])))
    refusal = _one_more(first)
    _check(held, {str(a) for a in usable[:count]}, refusal)
    with console.working("removing them"):
        began = time.perf_counter()
        _each(daemons, count, lambda daemon, number: daemon.remove(created[number]))
        removing = time.perf_counter() - began
    first.docker("network", "rm", "full")
    console.line(f"  {count:,} containers into {count:,} addresses in {seconds:.0f} s; removed in {removing:.0f} s")
    return [
        "",
        f"## {count:,} containers into exactly {count:,} addresses",
        "",
        f"On three hosts, {AT_ONCE} starts at once on each, a flat network with {count:,} addresses that are not "
        f"excluded: **{seconds:.0f} s** until the last one ran ({seconds / count * 1000:.0f} ms each), all {count:,} "
        f"addresses held and none of them twice; one container more is refused. All of them were removed in "
        f"{removing:.0f} s. The published best for a comparable system, 1,000 pods into 1,000 addresses on 10 nodes, "
        "is 207 s (spiderpool, `ipam-performance.md`).",
    ]


def _each(daemons: Sequence[Daemon], count: int, work: Callable[[Daemon, int], T]) -> list[T]:
    """The work for each of so many containers, spread over the hosts; results in order."""
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE * len(daemons)) as threads:
        return list(threads.map(lambda number: work(daemons[number % len(daemons)], number), range(count)))


def _check(held: Counter[str], usable: set[str], refusal: str) -> None:
    doubled = [address for address, times in held.items() if times > 1]
    if doubled:
        raise RuntimeError(f"addresses that two containers have: {doubled}")
    if set(held) != usable:
        raise RuntimeError(f"addresses that nobody has, or that nobody may have: {sorted(set(held) ^ usable)}")
    if "no available" not in refusal:
        raise RuntimeError(f"one container more is refused with: {refusal}")


def _one_more(daemon: Daemon) -> str:
    """What is said of a container that there is no address for."""
    id_ = daemon.create(network="full")
    try:
        daemon.run(id_)
    except RuntimeError as refusal:
        return str(refusal)
    finally:
        daemon.remove(id_)
    return "nothing: it runs"
