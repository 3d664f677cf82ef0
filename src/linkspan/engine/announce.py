"""Who tells the neighbours where its address is now, how often, and when: gratuitous ARP and unsolicited neighbour
advertisements.

Docker sends three for every endpoint. Here a MAC address follows from the IPv4 address, so that on a bridge nobody's
neighbours can be wrong, unless somebody gave a MAC by hand; and each one costs milliseconds on a bridge with a thousand
ports (docs/decisions/networks.md). So on a bridge they are sent where they are asked for, or a MAC was given. On
overlay and weave networks too: on the one they would not leave the host, the other is such a bridge. Nor on a calico
network, where the host alone is on the container's wire, a new one each time.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping

from linkspan.ipam.names import mac_address
from linkspan.model.endpoint import Endpoint
from linkspan.model.network import Network
from linkspan.model.snapshot import Snapshot

TIMES = "com.docker.network.advertise_addr_nmsgs"
PAUSE = "com.docker.network.advertise_addr_ms"
_LIMITS = {TIMES: (0, 3), PAUSE: (100, 2000)}
_KNOWN = ("bridge", "overlay", "weave", "calico")
_DEFAULTS = {TIMES: 3, PAUSE: 1000}


@dataclasses.dataclass(frozen=True, slots=True)
class Announcement:
    """`times` messages for each of the addresses, `pause` seconds apart, for as long as the endpoint is there."""

    namespace: str
    interface: str
    addresses: tuple[str, ...]
    times: int
    pause: float
    endpoint: str = ""  # its id; "" for what is none


def announcements(before: Snapshot, after: Snapshot, containers: Iterable[str]) -> Iterator[Announcement]:
    """What the containers' endpoints that are new, or have got another address or MAC, have to say."""
    for id_ in containers:
        for endpoint in map(after.endpoints.__getitem__, after.endpoints_of.get(id_, ())):
            old = before.endpoints.get(endpoint.id)
            if old is None or _place(old) != _place(endpoint):
                network, sandbox = after.networks[endpoint.network_id], after.sandboxes[endpoint.sandbox_id]
                times, pause = _asked(network, endpoint)
                addresses = tuple(filter(None, (endpoint.address, endpoint.address6)))
                # Who hangs on the host is announced by it, with its MAC address.
                place = ("", network.parent) if network.path == "routed" else (sandbox.path, endpoint.interface)
                if times and addresses and endpoint.interface:
                    yield Announcement(*place, addresses, times, pause / 1000, endpoint.id)
        yield from _of_plugs(before, after, id_)


def _of_plugs(before: Snapshot, after: Snapshot, container_id: str) -> Iterator[Announcement]:
    """Somebody else may have had the address of an interface given by hand until now: always."""
    container, old = after.containers.get(container_id), before.containers.get(container_id)
    sandbox = after.sandbox(container) if container and container.plugs else None
    if container is None or sandbox is None:
        return
    same_run = old is not None and before.sandbox(old) == sandbox
    told = {plug.addressed(sandbox.id) for plug in old.plugs} if old and same_run else set()
    for plug in container.plugs:
        addressed = plug.addressed(sandbox.id)
        if addressed.address and addressed not in told:
            yield Announcement(
                sandbox.path, plug.interface, (addressed.address,), _DEFAULTS[TIMES], _DEFAULTS[PAUSE] / 1000
            )


def announcement_problems(options: Mapping[str, str]) -> Iterator[str]:
    """What is wrong with the options of a network or an endpoint, in Docker's words."""
    for name, (least, most) in _LIMITS.items():
        if name not in options:
            continue
        text = options[name]
        if not text.removeprefix("-").isdecimal():
            kind = "integer milliseconds" if name == PAUSE else "an integer"
            yield f'value for option {name} "{text}" must be {kind}'
        elif not least <= int(text) <= most:
            yield f"{name} must be in the range {least} to {most}"


def _asked(network: Network, endpoint: Endpoint) -> tuple[int, int]:
    """The endpoint's options go before its network's."""
    options = {**network.options, **endpoint.driver_options}
    by_hand = bool(endpoint.address) and endpoint.mac != mac_address(endpoint.address)
    times = _DEFAULTS[TIMES] if network.driver not in _KNOWN or by_hand else 0
    return int(options.get(TIMES, times)), int(options.get(PAUSE, _DEFAULTS[PAUSE]))


def _place(endpoint: Endpoint) -> tuple[str, str, str, str]:
    return endpoint.interface, endpoint.mac, endpoint.address, endpoint.address6
