"""Networks: /networks/…, and linkspan's own view of the address translation."""

from __future__ import annotations

import time
from collections.abc import Mapping

import msgspec

from linkspan.api import filters, json_ipam, json_networks
from linkspan.api.http import EMPTY, NO_CONTENT, Answer, Request, Response, json_response
from linkspan.api.parse import convert, parse_filters, read_object
from linkspan.api.versions import IPV4_OPTIONAL
from linkspan.daemon.daemon import Daemon
from linkspan.engine.request import NetworkRequest
from linkspan.engine.update import NetworkUpdate
from linkspan.errors import InvalidArgument, NotFound
from linkspan.model.container import EndpointSettings
from linkspan.model.network import Pool, parse_subnet
from linkspan.model.wire import Wire

_BOOLEANS = ("", "1", "t", "true", "0", "f", "false")


class _Ipam(Wire, frozen=True, kw_only=True):
    driver: str = "default"
    config: tuple[dict[str, object], ...] = ()
    options: Mapping[str, str] | None = None


class _Reference(Wire, frozen=True, kw_only=True):
    network: str = ""


class _Create(Wire, frozen=True, kw_only=True):
    name: str = ""
    driver: str = ""
    scope: str = ""
    enable_ipv4: bool | None = msgspec.field(default=None, name="EnableIPv4")
    enable_ipv6: bool | None = msgspec.field(default=None, name="EnableIPv6")
    ipam: _Ipam = msgspec.field(default_factory=_Ipam, name="IPAM")
    internal: bool = False
    attachable: bool = False
    ingress: bool = False
    config_only: bool = False
    config_from: _Reference = msgspec.field(default_factory=_Reference)
    options: Mapping[str, str] = msgspec.field(default_factory=dict)
    labels: Mapping[str, str] = msgspec.field(default_factory=dict)


class _Update(Wire, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is left out stays as it is. `dns` is all of them; an option with an empty value is one no more."""

    add_subnets: tuple[dict[str, object], ...] = ()
    remove_subnets: tuple[str, ...] = ()
    labels: Mapping[str, str] = msgspec.field(default_factory=dict)
    remove_labels: tuple[str, ...] = ()
    internal: bool | None = None
    dns: tuple[str, ...] | None = None
    options: Mapping[str, str] = msgspec.field(default_factory=dict)


class _Connect(Wire, frozen=True, kw_only=True):
    container: str = ""
    endpoint_config: EndpointSettings = msgspec.field(default_factory=EndpointSettings)


class _Disconnect(Wire, frozen=True, kw_only=True):
    container: str = ""
    force: bool = False


async def list_(daemon: Daemon, request: Request) -> Answer:
    wanted = filters.networks(parse_filters(request.text("filters")))
    return json_response([json_networks.listed(view) for view in daemon.networks.views() if wanted(view)])


async def inspect(daemon: Daemon, request: Request) -> Answer:
    if request.text("verbose").lower() not in _BOOLEANS:  # what it would tell of a swarm's services there is none of
        raise InvalidArgument(f"invalid value for verbose: {request.text('verbose')}")
    view = await daemon.networks.view(request.names["ref"])
    scope = request.text("scope")
    if scope and scope != view.network.scope:
        raise NotFound(f"network {request.names['ref']} not found")
    return json_response(json_networks.inspect(view, request.version))


async def create(daemon: Daemon, request: Request) -> Answer:
    asked = convert(await read_object(request, empty="a network needs a name"), _Create)
    if not asked.name.strip():
        raise InvalidArgument("invalid name: name is empty")
    ipv4 = asked.enable_ipv4 if request.version >= IPV4_OPTIONAL else None
    wanted = NetworkRequest(
        name=asked.name,
        driver=asked.driver or "bridge",
        scope=asked.scope,
        pools=tuple(_pool(given) for given in asked.ipam.config),
        ipam_driver=asked.ipam.driver or "default",
        options=asked.options,
        ipam_options=asked.ipam.options,
        labels=asked.labels,
        internal=asked.internal,
        attachable=asked.attachable,
        ingress=asked.ingress,
        config_only=asked.config_only,
        config_from=asked.config_from.network,
        ipv4=ipv4 is not False,
        ipv6=bool(asked.enable_ipv6),
        stated=frozenset(family for family, said in ((4, ipv4), (6, asked.enable_ipv6)) if said is not None),
    )
    id_, warning = await daemon.networks.create(wanted)
    return json_response({"Id": id_, "Warning": warning}, 201)


async def update(daemon: Daemon, request: Request) -> Answer:
    """`POST /networks/{id}/update`, which Docker does not have: it knows no networks that change."""
    asked = convert(await read_object(request, empty="an update needs a body"), _Update)
    wanted = NetworkUpdate(
        pools=tuple(_pool(given) for given in asked.add_subnets),
        removed_subnets=asked.remove_subnets,
        labels=asked.labels,
        removed_labels=asked.remove_labels,
        internal=asked.internal,
        dns=asked.dns,
        options=asked.options,
    )
    if wanted == NetworkUpdate():
        raise InvalidArgument("an update needs something to change")
    await daemon.networks.update(request.names["ref"], wanted)
    return EMPTY


async def connect(daemon: Daemon, request: Request) -> Answer:
    asked = convert(await read_object(request), _Connect)
    if not asked.container:
        raise InvalidArgument("a container is needed to connect to a network")
    await daemon.networks.connect(request.names["ref"], asked.container, asked.endpoint_config)
    return EMPTY


async def disconnect(daemon: Daemon, request: Request) -> Answer:
    asked = convert(await read_object(request), _Disconnect)
    if not asked.container:
        raise InvalidArgument("a container is needed to disconnect from a network")
    await daemon.networks.disconnect(request.names["ref"], asked.container, force=asked.force)
    return EMPTY


async def remove(daemon: Daemon, request: Request) -> Answer:
    await daemon.networks.remove(request.names["ref"])
    return NO_CONTENT


async def prune(daemon: Daemon, request: Request) -> Answer:
    keep = filters.networks_to_keep(parse_filters(request.text("filters")), time.time())
    return json_response({"NetworksDeleted": await daemon.networks.prune(keep) or None})


async def address_use(daemon: Daemon, request: Request) -> Answer:
    return json_response(json_ipam.address_use(await daemon.networks.address_use()))


async def nat(daemon: Daemon, request: Request) -> Answer:
    return json_response(daemon.networks.nat_table())


async def nat_ruleset(daemon: Daemon, request: Request) -> Answer:
    text = await daemon.networks.nat_ruleset()
    return Response(200, text.encode(), (("Content-Type", "text/plain; charset=utf-8"),))


def _pool(given: dict[str, object]) -> Pool:
    subnet = given.get("Subnet") or ""
    if subnet:
        parse_subnet(str(subnet))
    elif any(given.values()):
        raise InvalidArgument("invalid subnet : a gateway, a range and auxiliary addresses belong to a subnet")
    return convert({"Subnet": subnet, **given}, Pool)


ROUTES = (
    ("GET", "/networks", list_),
    ("GET", "/networks/", list_),
    ("POST", "/networks/create", create),
    ("POST", "/networks/prune", prune),
    ("GET", "/networks/{ref}", inspect),
    ("POST", "/networks/{ref}/update", update),
    ("POST", "/networks/{ref}/connect", connect),
    ("POST", "/networks/{ref}/disconnect", disconnect),
    ("DELETE", "/networks/{ref}", remove),
    ("GET", "/ipam", address_use),
    ("GET", "/linkspan/nat", nat),
    ("GET", "/linkspan/nat/nft", nat_ruleset),
)
