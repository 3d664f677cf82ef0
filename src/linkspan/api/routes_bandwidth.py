"""How much of a network a container may use: POST /containers/{id}/bandwidth, which Docker does not have."""

from __future__ import annotations

from linkspan.api.http import Answer, Request, json_response
from linkspan.api.parse import convert, read_object
from linkspan.daemon.daemon import Daemon
from linkspan.errors import InvalidArgument
from linkspan.model.wire import Wire


class _Bandwidth(Wire, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`rate` as in `10mbit`, `burst` as in `32kb`; no rate is no limit."""

    network: str = ""
    rate: str = ""
    burst: str = ""


async def set_(daemon: Daemon, request: Request) -> Answer:
    """Answers what holds now: bits a second and bytes, or zeros."""
    asked = convert(await read_object(request), _Bandwidth)
    if not asked.network:
        raise InvalidArgument("a network is needed to limit a container on")
    limit = await daemon.networks.set_bandwidth(asked.network, request.names["ref"], asked.rate, asked.burst)
    return json_response({"Rate": limit.rate if limit else 0, "Burst": limit.burst if limit else 0})


ROUTES = (("POST", "/containers/{ref}/bandwidth", set_),)
