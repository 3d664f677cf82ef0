"""Host ports: the one asked for, the first free one of a range, or one from the host's ephemeral range."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from functools import partial

from linkspan.errors import PortInUse
from linkspan.model.endpoint import Binding
from linkspan.model.pages import free_numbers
from linkspan.model.port import PortRequest

WILDCARD = {4: "0.0.0.0", 6: "::"}


@dataclasses.dataclass(frozen=True, slots=True)
class PortSpace:
    """What a host has to give. `busy` are ports that other processes were found to hold: (protocol, address, port)."""

    first: int = 32768
    last: int = 60999
    reserved: frozenset[int] = frozenset()
    busy: frozenset[tuple[str, str, int]] = frozenset()


def allocate_ports(
    requests: Iterable[PortRequest],
    held: Callable[[str, str, int], int],
    space: PortSpace,
    default_address: str,
) -> tuple[Binding, ...]:
    """A binding for each request. `held(protocol, address, page)` are the bits of the ports that it cannot have.

    Raises PortInUse with Docker's words. Ports given by number go first, so that a port of free choice never takes one.
    """
    taken: dict[tuple[str, int], list[str]] = {}
    found: dict[PortRequest, Binding] = {}
    # Requests with the same choice go on where the one before stopped: what it passed over is not to be had.
    choices: dict[tuple[str, str, int, int], Iterator[int]] = {}
    wanted = list(dict.fromkeys(requests))
    for request in sorted(wanted, key=lambda r: (r.first == 0, r.first != r.last)):
        address, protocol = request.address or default_address, request.container.protocol
        key = (protocol, address, request.first, request.last)
        if key not in choices:
            choices[key] = _candidates(request, partial(held, protocol, address), address, space)
        chosen = next((port for port in choices[key] if not _clash(taken.get((protocol, port), ()), address)), 0)
        if not chosen:
            raise PortInUse(_refusal(request, address), protocol=protocol, address=address, port=request.first)
        taken.setdefault((protocol, chosen), []).append(address)
        found[request] = Binding(
            protocol=protocol, address=address, port=chosen, container_port=request.container.number
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
        for binding in [b for b in fitting if b.port == fitting[0].port]:  # one in each address family
            found[binding] = request
            there.remove(binding)
    return found


def _fits(request: PortRequest, binding: Binding) -> bool:
    return (
        (request.container.number, request.container.protocol) == (binding.container_port, binding.protocol)
        and request.address in ("", binding.address)
        and (request.first == 0 or request.first <= binding.port <= request.last)
    )


def _candidates(request: PortRequest, held: Callable[[int], int], address: str, space: PortSpace) -> Iterator[int]:
    if request.first and request.first == request.last:
        # A port asked for by number is tried even where another process holds it: the kernel then says so itself.
        return free_numbers(request.first, request.last, held)
    first, last = (request.first, request.last) if request.first else (space.first, space.last)
    reserved = frozenset[int]() if request.first else space.reserved
    protocol = request.container.protocol
    return (
        port
        for port in free_numbers(first, last, held)
        if port not in reserved and (protocol, address, port) not in space.busy
    )


def _clash(held: Iterable[str], address: str) -> bool:
    return any(other == address or "0.0.0.0" in (other, address) for other in held)


def _refusal(request: PortRequest, address: str) -> str:
    if request.first == 0:
        return f"no free host port on {address} in the host's ephemeral range for {request.container}"
    if request.first != request.last:
        return f"Bind for {address}:{request.first}-{request.last} failed: all ports are already allocated"
    return f"Bind for {address}:{request.first} failed: port is already allocated"
