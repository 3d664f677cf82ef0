"""Host ports: the one asked for, the first free one of a range, or one from the host's ephemeral range."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence

from linkspan.errors import PortInUse
from linkspan.model.endpoint import Binding
from linkspan.model.pages import free_numbers, place
from linkspan.model.port import ContainerPort, PortRequest, clash, each_family, with_port


@dataclasses.dataclass(frozen=True, slots=True)
class PortSpace:
    """What a host has to give. `busy` are ports that other processes were found to hold: (protocol, address, port)."""

    first: int = 32768
    last: int = 60999
    reserved: frozenset[int] = frozenset()
    busy: frozenset[tuple[str, str, int]] = frozenset()
    ipv6: bool = True  # the host has IPv6: a port published without an address is one of its IPv6 addresses too
    relay: bool = False  # so it is where the container has IPv4 only


def allocate_ports(
    requests: Iterable[PortRequest],
    held: Callable[[str, str, int], int],
    space: PortSpace,
    claimed: Callable[[str, int], int] = lambda protocol, page: 0,
) -> tuple[Binding, ...]:
    """A binding for each request, all of which name their host address.

    `held(protocol, address, page)` are the bits of the ports that an address cannot have. Ports given by number go
    first, so that a port of free choice never takes one; nor does it take one of `claimed(protocol, page)`, which
    containers were given by number, running or not. One container port asked for at several addresses with the same
    choice gets the same number at all of them, as with Docker.

    Raises PortInUse with Docker's words.
    """
    taken: dict[tuple[str, int], list[str]] = {}
    found: dict[PortRequest, Binding] = {}
    wanted = list(dict.fromkeys(requests))
    # Ports given by number go first, then ranges.
    groups = sorted(_groups(wanted), key=lambda group: (group[0].first == 0, group[0].first != group[0].last))
    # Groups with the same choice go on where the one before stopped: what it passed over is not to be had.
    choices: dict[tuple[str, tuple[str, ...], int, int], Iterator[int]] = {}
    for group in groups:
        first, protocol = group[0].first, group[0].container.protocol
        addresses = tuple(request.address for request in group)
        key = (protocol, addresses, first, group[0].last)
        if key not in choices:
            choices[key] = _candidates(group[0], addresses, held, space, claimed)
        chosen = next((port for port in choices[key] if not _clashes(taken.get((protocol, port), ()), addresses)), 0)
        if not chosen:
            address = next((a for a in addresses if _is_held(held, protocol, a, first)), addresses[0])
            raise PortInUse(_refusal(group[0], address), protocol=protocol, address=address, port=first)
        taken.setdefault((protocol, chosen), []).extend(addresses)
        for request in group:
            found[request] = Binding(
                protocol=protocol, address=request.address, port=chosen, container_port=request.container.number
            )
    return tuple(found[request] for request in wanted)


def chosen_freely(requests: Iterable[PortRequest], binding: Binding) -> bool:
    """Another port may serve in this binding's place: its request gave a range, or no number."""
    fitting = [r for r in requests if _fits(r, binding)]
    # A port given by number is that request's, whatever else is asked for the same container port.
    return bool(fitting) and all(r.first != r.last or r.first == 0 for r in fitting)


def owners(requests: Iterable[PortRequest], bindings: Iterable[Binding]) -> dict[Binding, PortRequest]:
    """Which request each binding came of. One that no request accounts for is left out.

    The most particular request has the first choice: 8080 belongs to `-p 8080:80` before it belongs to `-p 80`.
    """
    left: dict[tuple[int, str], list[Binding]] = {}
    for binding in bindings:
        left.setdefault((binding.container_port, binding.protocol), []).append(binding)
    found: dict[Binding, PortRequest] = {}
    for request in sorted(dict.fromkeys(requests), key=lambda r: (r.first == 0, r.last - r.first, r.address == "")):
        there = left.get((request.container.number, request.container.protocol), [])
        fitting = [b for b in there if _fits(request, b)]
        number = next((b.port for b in fitting if b.port), 0)
        for binding in [b for b in fitting if b.port in (number, 0)]:  # one in each address family
            found[binding] = request
            there.remove(binding)
    return found


def _fits(request: PortRequest, binding: Binding) -> bool:
    return (
        (request.container.number, request.container.protocol) == (binding.container_port, binding.protocol)
        and (binding.port == 0 or request.address in ("", binding.address))
        and (0 in (binding.port, request.first) or request.first <= binding.port <= request.last)
    )


def _groups(requests: Iterable[PortRequest]) -> list[list[PortRequest]]:
    """Requests that are to get one number: they differ in their addresses only, none of which covers another."""
    groups: list[list[PortRequest]] = []
    alike: dict[tuple[ContainerPort, int, int], list[list[PortRequest]]] = {}
    for request in requests:
        candidates = alike.setdefault((request.container, request.first, request.last), [])
        group = next((g for g in candidates if not any(clash(r.address, request.address) for r in g)), None)
        if group is None:
            group = []
            candidates.append(group)
            groups.append(group)
        group.append(request)
    return groups


def _candidates(
    request: PortRequest,
    addresses: Sequence[str],
    held: Callable[[str, str, int], int],
    space: PortSpace,
    claimed: Callable[[str, int], int],
) -> Iterator[int]:
    protocol = request.container.protocol

    def all_held(page: int) -> int:
        bits = 0
        for address in addresses:
            bits |= held(protocol, address, page)
        return bits

    if request.first and request.first == request.last:
        # A port asked for by number is tried even where another process holds it: the kernel then says so itself.
        return free_numbers(request.first, request.last, all_held)
    first, last = (request.first, request.last) if request.first else (space.first, space.last)
    reserved = frozenset[int]() if request.first else space.reserved
    return (
        port
        for port in free_numbers(first, last, lambda page: all_held(page) | claimed(protocol, page))
        if port not in reserved and not any((protocol, address, port) in space.busy for address in addresses)
    )


def _is_held(held: Callable[[str, str, int], int], protocol: str, address: str, port: int) -> bool:
    page, bit = place(port)
    return bool(held(protocol, address, page) & bit)


def _clashes(held: Iterable[str], addresses: Sequence[str]) -> bool:
    return any(clash(other, address) for other in held for address in addresses)


def _refusal(request: PortRequest, address: str) -> str:
    shown = with_port(address, request.first)
    if request.first == 0:
        return f"no free host port on {each_family(address)[0]} in the host's ephemeral range for {request.container}"
    if request.first != request.last:
        return f"Bind for {shown}-{request.last} failed: all ports are already allocated"
    return f"Bind for {shown} failed: port is already allocated"
