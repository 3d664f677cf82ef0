"""Ports: a container's, and those asked for on the host.

Docker's forms: a container port is `80/tcp`; a binding asked for is a host address and a host port, where the port is
empty (any), one number, or a range of which the first free one is taken.
"""

from __future__ import annotations

import dataclasses
import ipaddress
import sys
from collections.abc import Iterable

from linkspan.errors import InvalidArgument

PROTOCOLS = ("tcp", "udp", "sctp")
ANY_IPV4 = "0.0.0.0"
ANY_IPV6 = "::"
ANY = "*"  # every address of the host, of both families: what clients see as 0.0.0.0 and [::]


@dataclasses.dataclass(frozen=True, slots=True, order=True)
class ContainerPort:
    """A port inside a sandbox. `str()` is Docker's form, `80/tcp`."""

    number: int
    protocol: str = "tcp"

    def __str__(self) -> str:
        return f"{self.number}/{self.protocol}"


@dataclasses.dataclass(frozen=True, slots=True)
class PortRequest:
    """A container port to publish. `first`..`last` is the range of host ports to choose from; 0 is any."""

    container: ContainerPort
    address: str = ""  # "" is the network's default binding address
    first: int = 0
    last: int = 0


@dataclasses.dataclass(frozen=True, slots=True)
class Withdrawal:
    """What is to be published no more: every published port that fits. `str()` is what was typed.

    `container` 0 is any container port, `address` "" any host address, `first` 0 any host port. A number that is given
    alone is a host port, or else, where no such host port is published, a container port.
    """

    text: str
    protocol: str
    container: int = 0
    address: str = ""
    first: int = 0
    last: int = 0
    alone: bool = False

    def __str__(self) -> str:
        return self.text


def parse_number(text: str, what: str) -> int:
    """A port number 0..65535. Raises InvalidArgument naming `what`."""
    if not text.isascii() or not text.isdigit() or int(text) > 65535:
        raise InvalidArgument(f"invalid port specification: {what}")
    return int(text)


def parse_range(text: str, what: str) -> tuple[int, int]:
    """`80` → (80, 80), `8000-8010` → (8000, 8010). Raises InvalidArgument naming `what`."""
    first, dash, last = text.partition("-")
    low = parse_number(first, what)
    high = parse_number(last, what) if dash else low
    if high < low:
        raise InvalidArgument(f"invalid port specification: {what}: the range ends before it begins")
    return low, high


def parse_container_ports(text: str) -> tuple[ContainerPort, ...]:
    """`80`, `80/tcp`, `8000-8010/udp` as an image's or a user's EXPOSE has them."""
    numbers, slash, protocol = text.partition("/")
    protocol = sys.intern(protocol.lower()) if slash else "tcp"  # one string for thousands of ports
    if protocol not in PROTOCOLS:
        raise InvalidArgument(f"invalid port specification: {text!r}: invalid proto {protocol!r}")
    if (number := _plain(numbers)) is not None:
        low = high = number
    else:
        low, high = parse_range(numbers, repr(text))
    if low == 0:
        raise InvalidArgument(f"invalid port specification: {text!r}: a container port is 1 to 65535")
    return tuple(ContainerPort(number, protocol) for number in range(low, high + 1))


def parse_address(text: str) -> str:
    """A host address to publish on; empty stays empty. Raises InvalidArgument."""
    if not text:
        return ""
    try:
        address = ipaddress.ip_address(text.strip("[]"))
    except ValueError:
        raise InvalidArgument(f"invalid host IP address: {text}") from None
    return str(getattr(address, "ipv4_mapped", None) or address)


def version_of(address: str) -> int:
    """4 or 6."""
    return 6 if ":" in address else 4


def each_family(address: str) -> tuple[str, ...]:
    """A host address as what it is for IPv4 and for IPv6."""
    return (ANY_IPV4, ANY_IPV6) if address == ANY else (address,)


def any_of(version: int) -> str:
    """What stands for every address of a family."""
    return ANY_IPV6 if version == 6 else ANY_IPV4


def clash(one: str, other: str) -> bool:
    """Whether one port cannot be had at both of two host addresses."""
    return any(
        a == b or (version_of(a) == version_of(b) and any_of(version_of(a)) in (a, b))
        for a in each_family(one)
        for b in each_family(other)
    )


def with_port(address: str, port: int) -> str:
    """`0.0.0.0:80`, `[::1]:80`; of every address, the IPv4 form."""
    address = each_family(address)[0]
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def parse_port_request(container: str, host_ip: str, host_port: str) -> PortRequest:
    """One entry of `HostConfig.PortBindings`. Raises InvalidArgument."""
    ports = parse_container_ports(container)
    if len(ports) != 1:
        raise InvalidArgument(f"invalid port specification: {container!r}: one port a binding")
    if (number := _plain(host_port)) is not None:
        return PortRequest(ports[0], parse_address(host_ip), number, number)
    first, last = parse_range(host_port, f"invalid host port {host_port!r}") if host_port else (0, 0)
    return PortRequest(ports[0], parse_address(host_ip), first, last)


def _plain(text: str) -> int | None:
    """A number by itself, as most ports are: there may be thousands."""
    return int(text) if text.isdecimal() and text.isascii() and len(text) < 6 and int(text) < 65536 else None


def sort_ports(ports: Iterable[ContainerPort]) -> list[ContainerPort]:
    """In the order in which clients list them: by number, then protocol."""
    return sorted(set(ports))


def parse_withdrawal(text: str) -> Withdrawal:
    """`8080`, `8080/udp`, `8000-8010`, `8080:80`, `:80`, `127.0.0.1:8080`, `127.0.0.1:8080:80`, `[::1]::80`.

    Host ports may be ranges. Raises InvalidArgument.
    """
    numbers, slash, protocol = text.partition("/")
    protocol = sys.intern(protocol.lower()) if slash else "tcp"
    if protocol not in PROTOCOLS:
        raise InvalidArgument(f"invalid port specification: {text!r}: invalid proto {protocol!r}")
    address, colon, rest = "", "", numbers
    if numbers.startswith("["):
        address, colon, rest = numbers[1:].partition("]:")
    elif "." in numbers:
        address, colon, rest = numbers.partition(":")
    if (address or colon) and not (address and colon):
        raise InvalidArgument(f"invalid port specification: {text!r}: a port belongs to the address")
    host, colon, inside = rest.partition(":")
    container = parse_number(inside, repr(text)) if colon and inside else 0
    first, last = parse_range(host, repr(text)) if host else (0, 0)
    if (host and not first) or (colon and inside and not container) or not (first or container):
        raise InvalidArgument(f"invalid port specification: {text!r}: use [[ADDRESS:]PORT][:CONTAINER-PORT][/PROTOCOL]")
    alone = not address and not colon and first == last
    return Withdrawal(text, protocol, container, parse_address(address), first, last, alone)
