"""Networks of the driver flannel: what their options mean."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Mapping

import msgspec

from linkspan.drivers.flannel import CONFIG
from linkspan.engine import bridges
from linkspan.errors import Conflict, InvalidArgument, Unsupported
from linkspan.model.flannel import PREFIX, FlannelConfig, parse_config
from linkspan.model.network import Network, Pool
from linkspan.model.snapshot import Snapshot
from linkspan.state.host import Underlay

DRIVER = "flannel"
_PREFIX = "flannel.prefix"  # where in etcd
# What is written into etcd with these where nothing is there yet: the option, and flannel's name of it.
_BACKEND = {"backend": "Type", "vni": "VNI", "port": "Port", "direct_routing": "DirectRouting"}
_BRIDGE = "com.docker.network.bridge."
OPTIONS = {
    *(f"{_BRIDGE}{name}" for name in ("name", "enable_ip_masquerade", "enable_icc", "host_binding_ipv4")),
    *(f"flannel.{name}" for name in (*_BACKEND, "subnet_len")),
    _PREFIX,
    CONFIG,
}


def prefix_of(options: Mapping[str, str]) -> str:
    """Where flannel's keys of the network are in etcd."""
    return "/" + (options.get(_PREFIX) or PREFIX).strip("/")


def wanted_config(options: Mapping[str, str], pools: tuple[Pool, ...]) -> str:
    """The configuration that a request describes, as it is written into etcd; "" where it describes none, and takes
    what is there. Raises InvalidArgument."""
    asked = {name: options[f"flannel.{name}"] for name in (*_BACKEND, "subnet_len") if f"flannel.{name}" in options}
    if not asked and not any(pool.subnet for pool in pools):
        return ""
    if any(pool.gateway or pool.ip_range or pool.auxiliary for pool in pools):
        raise InvalidArgument("a flannel network has a gateway and a range of addresses on each host: name the subnet")
    config: dict[str, object] = {}
    for pool in pools:
        config["IPv6Network" if pool.version == 6 else "Network"] = pool.subnet
    if "IPv6Network" in config:
        config["EnableIPv6"] = True
    if "subnet_len" in asked:
        config["SubnetLen"] = _number("subnet_len", asked["subnet_len"])
    backend: dict[str, object] = {"Type": asked.get("backend", "vxlan")}
    for name in ("vni", "port"):
        if name in asked:
            backend[_BACKEND[name]] = _number(name, asked[name])
    if "direct_routing" in asked:
        backend["DirectRouting"] = bridges.flag(options, "flannel.direct_routing", default=False)
    text = json.dumps({**config, "Backend": backend})
    parse_config(text)
    return text


def check_config(found: FlannelConfig, wanted: str, prefix: str) -> None:
    """Raises Conflict where etcd holds another configuration than the one that was asked for."""
    if wanted and _meaning(parse_config(wanted)) != _meaning(found):
        raise Conflict(
            f"etcd holds another flannel config at {prefix}/config: {found.text}: create the network without subnet "
            f"and backend to take that one, or give this one a prefix of its own: -o {_PREFIX}=/PREFIX"
        )


def check_backend(config: FlannelConfig, underlay: Underlay | None) -> None:
    """Raises Unsupported where it leads to no other host."""
    if underlay and underlay.meshed and config.backend.type == "host-gw":
        raise Unsupported(
            "flannel's host-gw goes plainly to hosts on the same segment, and in a mesh the way to a host may lead "
            "through another one: use flannel.backend=vxlan, which a mesh carries; or a calico network with "
            "encapsulation=never, to which all hosts of the mesh know the way"
        )


def flannel_network(snapshot: Snapshot, network: Network, underlay: Underlay | None = None) -> Network:
    """The network with what its options say. Raises InvalidArgument, Conflict, Unsupported."""
    config = parse_config(network.options.get(CONFIG, "{}"))
    check_backend(config, underlay)
    if network.internal:
        raise InvalidArgument("a flannel network cannot be internal: its containers' way to other hosts is the host's")
    for other in snapshot.networks.values():
        if other.driver != DRIVER:
            continue
        theirs = parse_config(other.options[CONFIG])
        if prefix_of(other.options) == prefix_of(network.options):
            raise Conflict(f"network {other.name} is the flannel network of {prefix_of(network.options)} already")
        if _device(theirs) == _device(config) != "":
            raise Conflict(
                f"network {other.name} has the device {_device(config)} already: another VNI is needed (flannel.vni)"
            )
        _check_apart(other.name, theirs, config)
    network = bridges.with_options(network)
    if any(n.bridge == network.bridge for n in snapshot.networks.values()):
        raise InvalidArgument(f"invalid bridge name {network.bridge!r}: it is another network's")
    return msgspec.structs.replace(network, strict_blocks=True)


def _check_apart(name: str, theirs: FlannelConfig, config: FlannelConfig) -> None:
    for one, other in ((theirs.v4, config.v4), (theirs.v6, config.v6)):
        if one and other and ipaddress.ip_network(one.network).overlaps(ipaddress.ip_network(other.network)):
            raise Conflict(f"network {name} has {one.network}, which overlaps {other.network}")


def _device(config: FlannelConfig) -> str:
    """The host's interface that there can be one of."""
    return {"vxlan": f"flannel.{config.backend.vni}", "udp": "flannel0"}.get(config.backend.type, "")


def _meaning(config: FlannelConfig) -> tuple[object, ...]:
    return config.v4, config.v6, config.backend


def _number(name: str, text: str) -> int:
    if not text.isdigit():
        raise InvalidArgument(f"invalid value for flannel.{name}: {text!r} is no number")
    return int(text)
