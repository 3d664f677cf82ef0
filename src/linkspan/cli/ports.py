"""`--publish` and `--expose`, in every form and with the error texts of Docker's command."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterable

from linkspan.cli.failure import Failure

Bindings = dict[str, list[dict[str, str]]]


def published(items: Iterable[str]) -> tuple[list[str], Bindings]:
    """The container ports, and the host's address and port (or range to choose from) for each."""
    ports: list[str] = []
    bindings: Bindings = {}
    for item in items:
        for port, address, host in _publish(_short(item)):
            ports.append(port)
            bindings.setdefault(port, []).append({"HostIp": address, "HostPort": host})
    return ports, bindings


def exposed(items: Iterable[str]) -> list[str]:
    """`80`, `80/udp`, `8000-8010` as container ports."""
    ports: list[str] = []
    for item in items:
        if ":" in item:
            raise Failure(f"invalid port format for --expose: {item}")
        text, protocol = _protocol(item)
        try:
            first, last = _range(text)
        except ValueError as error:
            raise Failure(f"invalid range format for --expose: {item}, error: {error}") from None
        if protocol not in ("tcp", "udp", "sctp"):
            raise Failure(f"invalid proto: {protocol}")
        ports.extend(f"{number}/{protocol}" for number in range(first, last + 1))
    return ports


def address(binding: dict[str, str]) -> str:
    """The host's end of a binding, as people write it: `0.0.0.0:8080`, `[::]:8080`."""
    host = binding["HostIp"]
    return f"[{host}]:{binding['HostPort']}" if ":" in host else f"{host}:{binding['HostPort']}"


def _short(item: str) -> str:
    """`target=80,published=8080,protocol=udp` as `8080:80/udp`; anything else as it is."""
    if "=" not in item:
        return item
    values = {"protocol": "tcp", "published": "", "target": ""}
    for field in item.split(","):
        name, equals, value = field.partition("=")
        if not equals or not name:
            raise Failure(f"invalid publish opts format (should be name=value but got '{field}')")
        values[name] = value
    return f"{values['published']}:{values['target']}/{values['protocol']}"


def _publish(item: str) -> Iterable[tuple[str, str, str]]:
    """(container port, host address, host port) for each port of one --publish."""
    address, host, container = _split(item)
    if address.startswith("["):
        match = re.fullmatch(r"\[([^\]]*)\]", address)
        if match is None:
            raise Failure(f"invalid IP address {address}: address {address}:: too many colons in address")
        address = match[1]
    if address and not is_address(address):
        raise Failure(f"invalid IP address: {address}")
    container, protocol = _protocol(container)
    if not container:
        raise Failure(f"no port specified: {item}<empty>")
    try:
        first, last = _range(container)
    except ValueError:
        raise Failure(f"invalid containerPort: {container}") from None
    try:
        host_first, host_last = _range(host) if host else (0, 0)
    except ValueError:
        raise Failure(f"invalid hostPort: {host}") from None
    if host and host_last - host_first != last - first and first != last:
        raise Failure(f"invalid ranges specified for container and host Ports: {container} and {host}")
    if protocol not in ("tcp", "udp", "sctp"):
        raise Failure(f"invalid proto: {protocol}")
    for offset in range(last - first + 1):
        chosen = str(host_first + offset) if host else ""
        if first == last and host_last != host_first:
            chosen = f"{host_first}-{host_last}"
        yield f"{first + offset}/{protocol}", address, chosen


def _split(item: str) -> tuple[str, str, str]:
    parts = item.split(":")
    if len(parts) == 1:
        return "", "", item
    return ":".join(parts[:-2]), parts[-2], parts[-1]


def _protocol(text: str) -> tuple[str, str]:
    port, _, protocol = text.partition("/")
    return port, protocol.lower() or "tcp"


def _range(text: str) -> tuple[int, int]:
    first, dash, last = text.partition("-")
    low = _number(first)
    high = _number(last) if dash else low
    if high < low:
        raise ValueError(f"invalid range specified for port: {text}")
    return low, high


def _number(text: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise ValueError(f'strconv.ParseUint: parsing "{text}": invalid syntax')
    if int(text) > 65535:
        raise ValueError(f'strconv.ParseUint: parsing "{text}": value out of range')
    return int(text)


def is_address(text: str) -> bool:
    """An IPv4 or IPv6 address. (The kernel's parser: `ipaddress` takes longer to import than all of this.)"""
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, text)
        except (OSError, ValueError):
            continue
        return True
    return False
