"""Networks: the default ones, creation and removal."""

from __future__ import annotations

import dataclasses
import ipaddress
import re
from collections.abc import Iterable, Mapping

import msgspec

from linkspan.drivers.contract import Driver
from linkspan.engine import sublinks
from linkspan.engine.announce import PAUSE, TIMES, announcement_problems
from linkspan.engine.attachment import IFACE_PREFIX, check_interface_prefix
from linkspan.engine.change import Change, network_event
from linkspan.engine.configurations import check_operator, configuration, with_configuration
from linkspan.engine.join import sharers
from linkspan.engine.request import NetworkRequest
from linkspan.errors import Conflict, Forbidden, InvalidArgument, NotFound, Unsupported
from linkspan.ipam.addresses import default_gateway
from linkspan.ipam.names import bridge_name
from linkspan.ipam.pools import PoolSource, allocate_subnet, check_overlap
from linkspan.model.network import DEFAULT_GATEWAY, PREDEFINED, Network, Pool, parse_subnet
from linkspan.model.port import parse_address
from linkspan.model.snapshot import Snapshot, Write, drop, put
from linkspan.state.host import HostFacts

_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*")
_BRIDGE = "com.docker.network.bridge."
_MTU = "com.docker.network.driver.mtu"
_COMMON_OPTIONS = {_MTU, IFACE_PREFIX, TIMES, PAUSE}
_BRIDGE_OPTIONS = frozenset(
    {
        _BRIDGE + "name",
        _BRIDGE + "enable_ip_masquerade",
        _BRIDGE + "enable_icc",
        _BRIDGE + "host_binding_ipv4",
        _BRIDGE + "default_bridge",
    }
)
_KNOWN_OPTIONS = {
    name: {*options, *_COMMON_OPTIONS} for name, options in (("bridge", _BRIDGE_OPTIONS), *sublinks.OPTIONS.items())
}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class DefaultBridge:
    """dockerd's flags for the network named bridge. `adopted` is the subnet of a bridge that was there (`-b br0`)."""

    name: str = "docker0"
    disabled: bool = False  # -b none
    bip: str = ""  # 172.17.0.1/16
    fixed_cidr: str = ""
    default_gateway: str = ""
    icc: bool = True
    masquerade: bool = True
    mtu: int = 1500
    binding_address: str = "0.0.0.0"
    adopted: str = ""  # 10.211.55.1/24: the bridge is the administrator's, so is its address


def default_networks(
    snapshot: Snapshot,
    bridge: DefaultBridge,
    sources: Iterable[PoolSource],
    host: HostFacts,
    ids: Iterable[str],
    created: str,
) -> Change:
    """The records of bridge, host and none as the flags want them; those that exist keep their ids.

    A default bridge whose flags changed takes its new form, unless containers still run on it. With `-b none` it is a
    network without interface for as long as containers name it, and a bridge again, the same one, without that flag.
    """
    bridge_id, host_id, none_id = ids
    existing = {n.name: n for n in snapshot.networks.values() if n.predefined}
    writes: list[Write] = []
    for name, driver, fresh in (("host", "host", host_id), ("none", "null", none_id)):
        if name not in existing:
            writes.append(put(Network(id=fresh, name=name, driver=driver, created=created)))
    old = existing.get("bridge")
    running = _running_on(snapshot, old) if old else ()
    if not bridge.disabled:
        others = (n for n in snapshot.networks.values() if n != old)
        wanted = _default_bridge(bridge, old, others, sources, host, bridge_id, created)
    elif not old or not (running or any(old.id in c.networks for c in snapshot.containers.values())):
        return Change((*writes, drop(old)) if old else tuple(writes))
    else:
        wanted = Network(id=old.id, name=old.name, driver="null", created=old.created)
    if wanted == old:
        return Change(tuple(writes))
    if running:
        kept = f"the network bridge keeps its old settings while containers run on it ({', '.join(running)})"
        return Change(tuple(writes), warnings=(f"{kept}: stop them and restart linkspand",))
    return Change((*writes, put(wanted)))


def _running_on(snapshot: Snapshot, network: Network) -> tuple[str, ...]:
    """Names of the containers that run in sandboxes on the network; also of one whose end is not yet recorded."""
    names = set[str]()
    for endpoint in snapshot.endpoints_at(network):
        owner = snapshot.containers[endpoint.container_id]
        others = [container.name for container in sharers(snapshot, owner)]
        names.update(others if others and not owner.state.running else (owner.name, *others))
    return tuple(sorted(names))


def _default_bridge(
    flags: DefaultBridge,
    old: Network | None,
    others: Iterable[Network],
    sources: Iterable[PoolSource],
    host: HostFacts,
    fresh_id: str,
    created: str,
) -> Network:
    taken = [pool.subnet for network in others for pool in network.pools]
    given = flags.adopted or flags.bip
    if given:
        interface = ipaddress.IPv4Interface(given)
        subnet, own = str(interface.network), str(interface.ip)
        check_overlap(subnet, taken)
    elif old and old.managed and old.pools:
        subnet, own = old.pools[0].subnet, ""
    else:
        subnet, own = allocate_subnet(sources, (*taken, *_real_routes(host))), ""
    pool = Pool(subnet=subnet, ip_range=flags.fixed_cidr, gateway=own)
    own = own or default_gateway(Pool(subnet=subnet))
    auxiliary = {}
    if flags.default_gateway not in ("", own):
        # The bridge keeps its address; containers are sent elsewhere, and that address stays out of the pool too.
        auxiliary = {DEFAULT_GATEWAY: flags.default_gateway}
        _check_inside(subnet, "default-gateway", flags.default_gateway)
    if flags.fixed_cidr:
        _check_inside(subnet, "fixed-cidr", flags.fixed_cidr)
    return Network(
        id=old.id if old else fresh_id,
        name="bridge",
        driver="bridge",
        created=old.created if old else created,
        pools=(msgspec.structs.replace(pool, gateway=own, auxiliary=auxiliary),),
        options={
            _BRIDGE + "default_bridge": "true",
            _BRIDGE + "enable_icc": _text(flags.icc),
            _BRIDGE + "enable_ip_masquerade": _text(flags.masquerade),
            _BRIDGE + "host_binding_ipv4": flags.binding_address,
            _BRIDGE + "name": flags.name,
            _MTU: str(flags.mtu),
        },
        bridge=flags.name,
        managed=not flags.adopted,
        masquerade=flags.masquerade,
        icc=flags.icc,
        mtu=flags.mtu,
        binding_address=flags.binding_address,
    )


def create_network(
    snapshot: Snapshot,
    request: NetworkRequest,
    drivers: Mapping[str, Driver],
    sources: Iterable[PoolSource],
    host: HostFacts,
) -> Change:
    """Raises InvalidArgument, Conflict (the name is taken), Forbidden (subnets overlap), NotFound (no such driver)."""
    if not _NAME.fullmatch(request.name) or len(request.name) > 255:
        raise InvalidArgument(f"invalid network name: {request.name!r}: use letters, digits and _.- (255 at most)")
    if request.name in ("default", *PREDEFINED):
        raise Forbidden(f"operation is not permitted on predefined {request.name} network ")
    if any(network.name == request.name for network in snapshot.networks.values()):
        raise Conflict(f"network with name {request.name} already exists")
    if request.config_only:
        network = configuration(request)
        return Change((put(network),), (network_event("create", network),))
    check_operator(request)
    request = with_configuration(snapshot, request)
    driver = drivers.get(request.driver or "bridge")
    if driver is None:
        raise NotFound(f"could not find plugin {request.driver} in v1 plugin registry: plugin not found")
    if not driver.allocates:
        raise Forbidden(f'only one instance of "{request.driver}" network is allowed')
    if request.ipv6 or any(pool.version == 6 for pool in request.pools):
        raise Unsupported(f"network {request.name}: IPv6 networks are not supported yet")
    if not request.ipv4:
        raise InvalidArgument("IPv4 or IPv6 must be enabled")
    if len(request.pools) > 1:
        raise InvalidArgument("bridge driver doesn't support multiple subnets of one address family")
    if request.ipam_driver not in ("", "default"):
        raise NotFound(f"could not find plugin {request.ipam_driver}: plugin not found")
    if unknown := set(request.options) - _KNOWN_OPTIONS[driver.name]:
        raise InvalidArgument(f"network {request.name}: unknown option: {', '.join(sorted(unknown))}")
    if problems := list(announcement_problems(request.options)):
        raise InvalidArgument("\n".join(problems))
    check_interface_prefix(request.options.get(IFACE_PREFIX, ""))
    network = _network(snapshot, request, driver, sources, host)
    return Change((put(network),), (network_event("create", network),))


def _network(
    snapshot: Snapshot, request: NetworkRequest, driver: Driver, sources: Iterable[PoolSource], host: HostFacts
) -> Network:
    network = Network(
        id=request.id,
        name=request.name,
        driver=driver.name,
        created=request.created,
        pools=(_pool(snapshot, request, sources, host),),
        options=dict(request.options),
        ipam_options=dict(request.ipam_options),
        labels=dict(request.labels),
        internal=request.internal,
        attachable=request.attachable,
        config_from=request.config_from,
    )
    if driver.name == "bridge":
        return _with_bridge(snapshot, _with_gateways(network))
    mtu = request.options.get(_MTU)
    network = sublinks.on_parent(snapshot, msgspec.structs.replace(network, mtu=_mtu(mtu) if mtu else 0), host)
    # What leads nowhere needs no gateway, nor does what needs nobody to lead it.
    network = network if network.internal or network.direct else _with_gateways(network)
    return sublinks.with_host_access(network, host)


def _with_gateways(network: Network) -> Network:
    pools = tuple(msgspec.structs.replace(pool, gateway=default_gateway(pool)) for pool in network.pools)
    return msgspec.structs.replace(network, pools=pools)


def _pool(snapshot: Snapshot, request: NetworkRequest, sources: Iterable[PoolSource], host: HostFacts) -> Pool:
    taken = [pool.subnet for network in snapshot.networks.values() for pool in network.pools]
    pool = request.pools[0] if request.pools else Pool(subnet="")
    if pool.subnet:
        subnet = str(parse_subnet(pool.subnet))
        check_overlap(subnet, taken)
    else:
        subnet = allocate_subnet(sources, (*taken, *_real_routes(host)))
    for what, address in (("gateway", pool.gateway), *pool.auxiliary.items()):
        if address:
            _check_inside(subnet, what, address)
    if pool.ip_range:
        _check_inside(subnet, "ip-range", pool.ip_range)
    return msgspec.structs.replace(pool, subnet=subnet, automatic=not pool.subnet)


def _with_bridge(snapshot: Snapshot, network: Network) -> Network:
    options = network.options
    bridge = options.get(_BRIDGE + "name") or bridge_name(network.id)
    if len(bridge) > 15 or "/" in bridge or any(n.bridge == bridge for n in snapshot.networks.values()):
        raise InvalidArgument(f"invalid bridge name {bridge!r}: in use, or not a name that Linux takes")
    return msgspec.structs.replace(
        network,
        bridge=bridge,
        masquerade=_flag(options, _BRIDGE + "enable_ip_masquerade"),
        icc=_flag(options, _BRIDGE + "enable_icc"),
        mtu=_mtu(options.get(_MTU, "1500")),
        binding_address=parse_address(options.get(_BRIDGE + "host_binding_ipv4", "")) or "0.0.0.0",
    )


def remove_network(snapshot: Snapshot, network: Network) -> Change:
    """Raises Forbidden: a predefined network, one that containers are connected to, a configuration in use."""
    if network.predefined:
        raise Forbidden(f"{network.name} is a pre-defined network and cannot be removed")
    if network.config_only and any(n.config_from == network.name for n in snapshot.networks.values()):
        raise Forbidden(f'error while removing network: configuration network "{network.name}" is in use')
    endpoints = {snapshot.containers[e.container_id].name: e.id[:12] for e in snapshot.endpoints_at(network)}
    if endpoints:
        users = ", ".join(f'name:"{name}" id:"{id_}"' for name, id_ in sorted(endpoints.items()))
        raise Forbidden(f"error while removing network: network {network.name} has active endpoints ({users})")
    return Change((drop(network),), (network_event("destroy", network),))


def _real_routes(host: HostFacts) -> Iterable[str]:
    """A default route covers everything and reserves nothing."""
    return (route for route in host.routes if not route.endswith("/0"))


def _check_inside(subnet: str, what: str, value: str) -> None:
    try:
        inner = ipaddress.ip_network(value)
    except ValueError:
        raise InvalidArgument(f"invalid {what}: {value}") from None
    outer = ipaddress.ip_network(subnet)
    if inner.version != outer.version or not inner.subnet_of(outer):  # type: ignore[arg-type]
        raise InvalidArgument(f"no matching subnet for {what} {value}: it lies outside {subnet}")


def _flag(options: Mapping[str, str], name: str) -> bool:
    value = options.get(name, "true").lower()
    if value not in ("true", "false", "1", "0"):
        raise InvalidArgument(f"invalid value for {name}: {value!r}: use true or false")
    return value in ("true", "1")


def _mtu(text: str) -> int:
    if not text.isdigit() or not 68 <= int(text) <= 65535:
        raise InvalidArgument(f"invalid value for {_MTU}: {text!r}: use 68 to 65535")
    return int(text)


def _text(flag: bool) -> str:
    return "true" if flag else "false"
