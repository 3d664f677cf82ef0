"""Addresses that belong to identities: /networks/{ref}/reservations, which Docker does not have."""

from __future__ import annotations

from typing import Any

from linkspan.api.http import NO_CONTENT, Answer, Request, json_response
from linkspan.api.parse import convert, read_object
from linkspan.daemon.daemon import Daemon
from linkspan.daemon.reservations import ReservationView
from linkspan.errors import InvalidArgument
from linkspan.model.wire import Wire


class _Reservation(Wire, frozen=True, kw_only=True, forbid_unknown_fields=True):
    identity: str = ""
    address: str = ""


async def list_(daemon: Daemon, request: Request) -> Answer:
    return json_response([_shown(view) for view in await daemon.reservations.views(request.names["ref"])])


async def reserve(daemon: Daemon, request: Request) -> Answer:
    asked = convert(await read_object(request), _Reservation)
    if not asked.identity or not asked.address:
        raise InvalidArgument("an identity and an address are needed")
    await daemon.reservations.reserve(request.names["ref"], asked.identity, asked.address)
    return NO_CONTENT


async def release(daemon: Daemon, request: Request) -> Answer:
    asked = convert(await read_object(request), _Reservation)
    await daemon.reservations.release(request.names["ref"], asked.identity)
    return NO_CONTENT


def _shown(view: ReservationView) -> dict[str, Any]:
    one = view.reservation
    state = "in use" if one.holder else "resting" if view.released else "reserved"
    return {
        "Identity": one.identity,
        "IPv4Address": one.address,
        "IPv6Address": one.address6,
        "MacAddress": one.mac,
        "State": state,
        "Container": view.container,
        "Host": view.host,
        "Released": view.released,
    }


ROUTES = (
    ("GET", "/networks/{ref}/reservations", list_),
    ("POST", "/networks/{ref}/reservations", reserve),
    ("POST", "/networks/{ref}/reservations/release", release),
)
