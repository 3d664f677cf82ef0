"""Ports of containers that are there: POST /containers/{id}/publish and /unpublish, which Docker does not have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from linkspan.api.http import Answer, Request, json_response
from linkspan.api.parse import convert, read_object
from linkspan.daemon.daemon import Daemon
from linkspan.daemon.views import Republished
from linkspan.errors import InvalidArgument
from linkspan.model.container import PortBinding
from linkspan.model.port import Withdrawal, each_family, parse_container_ports, parse_port_request, parse_withdrawal
from linkspan.model.wire import Wire


class _Published(Wire, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """As in a HostConfig."""

    port_bindings: Mapping[str, tuple[PortBinding, ...] | None] | None = None


class _Withdrawn(_Published, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`ports` are words like `8080/udp`."""

    ports: tuple[str, ...] = ()


async def publish(daemon: Daemon, request: Request) -> Answer:
    asked = convert(await read_object(request), _Published).port_bindings
    if not asked:
        raise InvalidArgument("PortBindings are needed, as in a HostConfig")
    for port, bindings in asked.items():
        for binding in bindings or ():
            parse_port_request(port, binding.host_ip, binding.host_port)
    return json_response(_told(await daemon.publishing.publish(request.names["ref"], asked)))


async def unpublish(daemon: Daemon, request: Request) -> Answer:
    asked = convert(await read_object(request), _Withdrawn)
    wanted = [parse_withdrawal(text) for text in asked.ports]
    for port, bindings in (asked.port_bindings or {}).items():
        wanted += _withdrawals(port, bindings or (PortBinding(),))
    return json_response(_told(await daemon.publishing.withdraw(request.names["ref"], wanted)))


def _withdrawals(port: str, bindings: tuple[PortBinding, ...]) -> list[Withdrawal]:
    """In this form what is left out is any: {"80/tcp": null} takes every publication of port 80 away."""
    found = []
    for number in parse_container_ports(port):
        for binding in bindings:
            given = parse_port_request(str(number), binding.host_ip, binding.host_port)
            found.append(
                Withdrawal(
                    str(number), number.protocol, number.number, given.address, given.first, given.last, alone=False
                )
            )
    return found


def _told(changed: Republished) -> dict[str, Any]:
    ports: dict[str, list[dict[str, str]]] = {}
    for b in changed.bindings:
        for address in each_family(b.address):
            ports.setdefault(b.container, []).append({"HostIp": address, "HostPort": str(b.port) if b.port else ""})
    return {"Ports": ports, "Warnings": list(changed.warnings)}


ROUTES = (
    ("POST", "/containers/{ref}/publish", publish),
    ("POST", "/containers/{ref}/unpublish", unpublish),
)
