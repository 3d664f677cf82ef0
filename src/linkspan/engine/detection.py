"""Which addresses are asked for on the wire before they are used (RFC 5227, RFC 4862), on networks that are on one."""

from __future__ import annotations

import dataclasses
import ipaddress
from collections.abc import Iterable, Iterator

from linkspan.errors import Forbidden
from linkspan.model.claims import given_addresses
from linkspan.model.container import Container
from linkspan.model.endpoint import Endpoint
from linkspan.model.network import Network
from linkspan.model.snapshot import Snapshot, Write


class Occupied(Forbidden):
    """An address that was chosen turns out to be somebody's who is not ours."""

    def __init__(self, question: Question, mac: str) -> None:
        super().__init__(
            f"Address already in use: {question.address}: the machine with the MAC address {mac} has it on the segment "
            f"of network {question.network.name}"
        )
        self.question = question


@dataclasses.dataclass(frozen=True, slots=True)
class Question:
    """Who has the address? The first of the `interfaces` that this host has is asked on."""

    network: Network
    container_id: str
    address: str
    mac: str  # that the container will have it at
    interfaces: tuple[str, ...]


def questions(before: Snapshot, after: Snapshot, writes: Iterable[Write]) -> Iterator[Question]:
    """For addresses that a change gives out."""
    for write in writes:
        match write.record:
            case Endpoint() as endpoint if (network := after.networks[endpoint.network_id]).detects:
                old = before.endpoints.get(endpoint.id)
                known = (old.address, old.address6) if old else ()
                for address in filter(None, (endpoint.address, endpoint.address6)):
                    if address not in known:
                        places = dict.fromkeys(filter(None, (network.bridge, network.parent)))
                        yield Question(network, endpoint.container_id, address, endpoint.mac, tuple(places))


def was_given(container: Container, question: Question) -> bool:
    """Whether a user gave the address by hand: then there is no other one to try."""
    settings = container.networks.get(question.network.id)
    return settings is not None and int(ipaddress.ip_address(question.address)) in given_addresses(settings)
