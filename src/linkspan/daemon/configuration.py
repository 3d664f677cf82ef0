"""Flags and daemon.json: dockerd's names and meanings, so that a unit file written for dockerd starts linkspand."""

from __future__ import annotations

import dataclasses
import ipaddress
import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from linkspan.containers import logging as logs
from linkspan.daemon.flags import ACCEPTED, Given, gather
from linkspan.engine.bridges import DefaultBridge
from linkspan.errors import InvalidArgument, Unsupported
from linkspan.ipam.pools import DEFAULT_SOURCES, PoolSource, parse_source
from linkspan.model.container import LogConfig
from linkspan.model.mesh import JOIN_PORT, MeshSettings
from linkspan.model.mesh_token import parse_token
from linkspan.model.resolv_conf import check_overrides
from linkspan.state.names import HostListener
from linkspan.store.etcd.address import ClusterAddress, Tls, parse_cluster, parse_tls

log = logging.getLogger(__name__)
DEFAULT_HOST = "unix:///run/linkspan.sock"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class TLS:
    verify: bool = False
    ca: str = ""
    certificate: str = ""
    key: str = ""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    hosts: tuple[str, ...] = (DEFAULT_HOST,)
    tls: TLS | None = None
    data_root: Path = Path("/var/lib/linkspan")
    exec_root: Path = Path("/run/linkspan")
    pidfile: Path | None = Path("/run/linkspan.pid")
    log_level: str = "info"
    bridge: str = ""  # "" is docker0, made by us; "none" is no default bridge; else a bridge that is there
    default_bridge: DefaultBridge = dataclasses.field(default_factory=DefaultBridge)
    ip_forward: bool = True
    rules: frozenset[int] = frozenset({4, 6})  # --iptables, --ip6tables: IP versions with filtering and translation
    direct_routing: bool = False
    relay: bool = True  # --userland-proxy
    accept_mark: str = ""  # of --bridge-accept-fwmark: a mark, or mark/mask
    pool_sources: tuple[PoolSource, ...] = DEFAULT_SOURCES
    network_options: Mapping[str, Mapping[str, str]] = dataclasses.field(default_factory=dict)  # by driver
    dns: tuple[str, ...] = ()
    dns_search: tuple[str, ...] = ()
    dns_options: tuple[str, ...] = ()
    host_dns: HostListener | None = None  # where the host may ask for the names of containers
    host_gateway_ips: tuple[str, ...] = ()  # one of each family
    insecure_registries: tuple[str, ...] = ()
    cluster_interfaces: Mapping[str, str] = dataclasses.field(default_factory=dict)  # ours, by the cluster's names
    labels: tuple[str, ...] = ()
    cgroup_parent: str = "/linkspan"
    owned_table: bool = True
    publish_closed: bool = False  # published ports answer outside only what linkspan-user allows
    forward_accept: bool = True
    container_log: LogConfig = logs.DEFAULT  # of containers that name no log driver
    cluster: ClusterAddress | None = None
    cluster_tls: Tls | None = None
    ovs_database: str = "/run/openvswitch/db.sock"
    ovs_datapath: str = "auto"
    mesh: MeshSettings | None = None
    advertise: str = ""  # an address or an interface; "" is where it reaches etcd from
    bgp: str = "bird"  # who routes between the cluster's hosts: bird, external or off
    proxies: tuple[tuple[str, str], ...] = ()  # http_proxy and its kin, for requests to registries
    validate: bool = False  # --validate: say whether the configuration is in order, and end
    notes: tuple[str, ...] = ()  # said once at start: flags that are accepted and do nothing here


def parse_arguments(arguments: Sequence[str]) -> Configuration:
    """Flags, joined with daemon.json. Raises InvalidArgument naming the flag or key; exits on --help as usual."""
    given = gather(arguments)
    return dataclasses.replace(configure(given), validate=given.validate)


def configure(given: Given) -> Configuration:
    """From what the flags and the file say. Raises InvalidArgument."""
    values, said = given.values, given.said
    notes = tuple(f"{said(name)} is accepted: {ACCEPTED[name]}" for name in sorted(values) if ACCEPTED.get(name))
    notes += tuple(
        f"{said(name, '=false')}: no IPv{version} port is published, and nothing of IPv{version} is filtered or "
        "masqueraded: that is left to rules of the host's own"
        for version, name in ((4, "iptables"), (6, "ip6tables"))
        if not values.get(name, True)
    )
    backend = values.get("firewall-backend")
    if (backend := backend[-1] if isinstance(backend, list) else backend) not in (None, "", "nftables"):
        notes += (f"{said('firewall-backend', f'={backend}')}: nftables is used all the same",)
    hosts = tuple(map(_listener, values.get("host", ()))) or (DEFAULT_HOST,)
    tls = None
    if values.get("tls") or values.get("tlsverify"):
        tls = TLS(
            verify=bool(values.get("tlsverify")),
            ca=str(values.get("tlscacert", "/root/.docker/ca.pem")),
            certificate=str(values.get("tlscert", "/root/.docker/cert.pem")),
            key=str(values.get("tlskey", "/root/.docker/key.pem")),
        )
    plain = [host for host in hosts if host.startswith("tcp://")]
    if plain and tls is None and "tls" not in values and "tlsverify" not in values:
        raise InvalidArgument(
            f"{plain[0]}: whoever reaches an unprotected TCP socket is root on this host: use --tlsverify with "
            "--tlscacert, --tlscert and --tlskey, or say --tls=false to have it all the same"
        )
    pidfile = str(values.get("pidfile", "/run/linkspan.pid"))
    level = "debug" if values.get("debug") else str(values.get("log-level") or "info")
    if level not in ("debug", "info", "warn", "error", "fatal"):
        raise InvalidArgument(f"invalid logging level: {level}")
    bridge = str(values.get("bridge", ""))
    for name in ("bip", "bip6"):
        if bridge and values.get(name):
            raise InvalidArgument(f"you specified --bridge and --{name}, mutually exclusive options: choose one")
    dns_search, dns_options = (tuple(map(str, values.get(name, ()))) for name in ("dns-search", "dns-opt"))
    check_overrides((), dns_search, dns_options)
    return Configuration(
        hosts=hosts,
        tls=tls,
        data_root=Path(values.get("data-root") or "/var/lib/linkspan").absolute(),
        exec_root=Path(values.get("exec-root") or "/run/linkspan").absolute(),
        pidfile=Path(pidfile) if pidfile else None,
        log_level=level,
        bridge=bridge,
        default_bridge=_default_bridge(values, bridge),
        ip_forward=bool(values.get("ip-forward", True)),
        rules=frozenset(v for v, name in ((4, "iptables"), (6, "ip6tables")) if values.get(name, True)),
        relay=bool(values.get("userland-proxy", True)),
        direct_routing=bool(values.get("allow-direct-routing", False)),
        accept_mark=_mark(str(values.get("bridge-accept-fwmark", ""))),
        pool_sources=_pool_sources(values),
        network_options=_network_options(values.get("default-network-opt", ())),
        proxies=tuple(
            (name.replace("-", "_"), str(values[name]))
            for name in ("http-proxy", "https-proxy", "no-proxy")
            if values.get(name)
        ),
        dns=tuple(_address("dns", server) for server in values.get("dns", ())),
        dns_search=dns_search,
        dns_options=dns_options,
        **_cluster(values),
        ovs_database=_ovs_database(str(values.get("ovs-db", ""))),
        ovs_datapath=_ovs_datapath(str(values.get("ovs-datapath") or "auto")),
        bgp=_bgp(str(values.get("bgp") or "bird")),
        host_dns=_host_listener(values.get("host-dns", "")),
        host_gateway_ips=_host_gateways(values.get("host-gateway-ip", ())),
        insecure_registries=tuple(map(_registry, values.get("insecure-registry", ()))),
        labels=tuple(map(_label, values.get("label", ()))),
        cgroup_parent="/" + str(values.get("cgroup-parent") or "linkspan").strip("/"),
        owned_table=bool(values.get("own-table", True)),
        publish_closed=_publish_policy(values.get("publish-policy", "open")) == "closed",
        forward_accept=bool(values.get("forward-accept", True)),
        container_log=_container_log(values.get("log-driver", ""), values.get("log-opt", ())),
        notes=notes,
    )


def _ovs_database(text: str) -> str:
    """The socket's path. As for Open vSwitch's own programs, its folder may be named by the environment."""
    if not text:
        return str(Path(os.environ.get("OVS_RUNDIR") or "/run/openvswitch") / "db.sock")
    path = text.removeprefix("unix:")
    if not path.startswith("/"):
        raise InvalidArgument(f"invalid --ovs-db: {text!r}: use unix:/PATH, the socket of the switch on this host")
    return path


def _ovs_datapath(text: str) -> str:
    if text not in ("auto", "system", "netdev"):
        raise InvalidArgument(f"invalid --ovs-datapath: {text!r}: use system, netdev or auto")
    return text


def _bgp(text: str) -> str:
    if text not in ("bird", "external", "off"):
        raise InvalidArgument(f"invalid --bgp: {text!r}: use bird, external or off")
    return text


def _cluster(values: Mapping[str, Any]) -> dict[str, Any]:
    """The fields about the cluster."""
    address, tls, advertise = (str(values.get(name, "")) for name in ("cluster", "cluster-tls", "advertise"))
    mesh = _mesh(values, advertise)
    if mesh and address:
        raise InvalidArgument("--mesh and --cluster exclude each other: the hosts of a mesh run the store themselves")
    if tls and not address:
        raise InvalidArgument("--cluster-tls is about a cluster: it needs --cluster")
    if advertise and not (address or mesh):
        raise InvalidArgument("--advertise is about a cluster: it needs --cluster, or --mesh")
    interfaces = values.get("cluster-interface", ())
    if interfaces and not (address or mesh):
        raise InvalidArgument("--cluster-interface is about a cluster: it needs --cluster, or --mesh")
    return {
        "cluster": parse_cluster(address) if address else None,
        "cluster_tls": parse_tls(tls) if tls else None,
        "mesh": mesh,
        "advertise": advertise,
        "cluster_interfaces": _interfaces(interfaces),
    }


def _interfaces(texts: Iterable[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for text in texts:
        name, equals, here = text.partition("=")
        if not (name and equals and here) or "." in name + here:
            raise InvalidArgument(f"invalid --cluster-interface: {text!r}: use NAME=HERE, two names of interfaces")
        if name in found or here in found.values():
            raise InvalidArgument(f"invalid --cluster-interface: {text!r}: {name if name in found else here} is twice")
        found[name] = here
    return found


def _mesh(values: Mapping[str, Any], advertise: str) -> MeshSettings | None:
    join, token, encryption = (str(values.get(name, "")) for name in ("join", "token", "mesh-encryption"))
    if not values.get("mesh"):
        for name, value in (("join", join), ("token", token), ("mesh-encryption", encryption)):
            if value:
                raise InvalidArgument(f"--{name} is about a mesh: it needs --mesh")
        return None
    if bool(join) != bool(token):
        raise InvalidArgument(
            "--join and --token go together: `linkspan mesh token` shows the token on any host of the mesh"
        )
    if encryption not in ("", "on", "off"):
        raise InvalidArgument(f"invalid --mesh-encryption: {encryption}: it is on or off")
    return MeshSettings(
        join=_place(join) if join else None,
        token=parse_token(token) if token else None,
        encrypted=encryption != "off",
        advertise=advertise,
    )


def _place(text: str) -> tuple[str, int]:
    """`10.0.0.4`, `h1:6783`, `[fd00::4]:6783`. Raises InvalidArgument."""
    host, port = text, str(JOIN_PORT)
    if text.startswith("["):
        host, _, rest = text[1:].partition("]")
        port = rest.removeprefix(":") if rest else port
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise InvalidArgument(f"invalid --join: {text!r}: use HOST or HOST:PORT")
    return host, int(port)


def _publish_policy(value: object) -> str:
    if value not in ("open", "closed"):
        raise InvalidArgument(f"invalid --publish-policy: {value}: it is open or closed")
    return str(value)


def _container_log(driver: object, options: Mapping[str, str] | Iterable[str]) -> LogConfig:
    """`options` as the file has them, or as flags: NAME=VALUE."""
    if not isinstance(options, Mapping):
        if bad := next((option for option in options if "=" not in option), None):
            raise InvalidArgument(f"invalid --log-opt: {bad}: use NAME=VALUE")
        options = {name: value for name, _, value in (option.partition("=") for option in options)}
    try:
        return logs.check(LogConfig(type=str(driver), config=options))
    except Unsupported as error:
        raise InvalidArgument(str(error)) from error


def _default_bridge(values: Mapping[str, Any], bridge: str) -> DefaultBridge:
    mtu = values.get("mtu", 1500)
    if not isinstance(mtu, int) or not (mtu == 0 or 68 <= mtu <= 65535):
        raise InvalidArgument(f"invalid MTU: {mtu}")
    for name, kind in (
        ("bip", ipaddress.IPv4Interface),
        ("fixed-cidr", ipaddress.IPv4Interface),
        ("bip6", ipaddress.IPv6Interface),
        ("fixed-cidr-v6", ipaddress.IPv6Interface),
    ):
        if text := str(values.get(name, "")):
            try:
                network = kind(text).network
            except ValueError:
                network = None
            if network is None or "/" not in text:
                raise InvalidArgument(f"invalid --{name}: invalid CIDR address: {text}: it is ADDRESS/PREFIX")
            if name in ("bip", "bip6") and network.num_addresses < 2:
                raise InvalidArgument(f"invalid --{name}: {text} has no room for a bridge and a container")
    fixed, fixed6 = (str(values.get(name, "")) for name in ("fixed-cidr", "fixed-cidr-v6"))
    return DefaultBridge(
        name=bridge or "docker0",
        disabled=bridge == "none",
        bip=str(values.get("bip", "")),
        fixed_cidr=str(ipaddress.IPv4Network(fixed, strict=False)) if fixed else "",
        default_gateway=_address("default-gateway", values.get("default-gateway", "")),
        ipv6=bool(values.get("ipv6", False)),
        bip6=str(values.get("bip6", "")),
        fixed_cidr6=str(ipaddress.IPv6Network(fixed6, strict=False)) if fixed6 else "",
        default_gateway6=_address("default-gateway-v6", values.get("default-gateway-v6", "")),
        icc=bool(values.get("icc", True)),
        masquerade=bool(values.get("ip-masq", True)),
        mtu=mtu or 1500,
        binding_address=_address("ip", values.get("ip", "")) or "0.0.0.0",
    )


def _listener(text: object) -> str:
    value = str(text)
    if "://" not in value:
        value = f"unix://{value}" if value.startswith("/") else f"tcp://{value}"
    if value.partition("://")[0] not in ("unix", "tcp", "fd"):
        raise InvalidArgument(f"invalid bind address format: {text}: use unix://, tcp:// or fd://")
    return value


def _label(text: str) -> str:
    if not text.partition("=")[1] or text.startswith("="):
        raise InvalidArgument(f"bad attribute format: {text}: a label is key=value")
    return text


def _registry(text: str) -> str:
    """A host, host:port or CIDR."""
    if "://" in text or not text or any(character.isspace() for character in text):
        raise InvalidArgument(f"insecure registry {text} is not valid: use host, host:port or CIDR, without a scheme")
    return text


def _pool_sources(values: Mapping[str, Any]) -> tuple[PoolSource, ...]:
    """The pools given, or Docker's; with subnets of --default-subnet-size where that is given and they name none."""
    size = values.get("default-subnet-size", 0)
    if size and not (isinstance(size, int) and 16 <= size <= 30):
        raise InvalidArgument(f"invalid --default-subnet-size: {size}: it is a prefix length, 16 to 30")
    given = tuple(_pool_source(value, size) for value in values.get("default-address-pool", ()))
    return given or tuple(dataclasses.replace(source, size=size or source.size) for source in DEFAULT_SOURCES)


def _pool_source(value: object, size: int) -> PoolSource:
    if isinstance(value, str):
        pairs = {name: text for name, _, text in (part.partition("=") for part in value.split(","))}
    elif isinstance(value, dict):
        pairs = {str(k): str(v) for k, v in value.items()}
    else:
        raise InvalidArgument(f"invalid default-address-pool: {value!r}")
    if size:
        pairs.setdefault("size", str(size))
    if set(pairs) != {"base", "size"} or not pairs["size"].isdigit():
        raise InvalidArgument(f"invalid default-address-pool: {value}: use base=<CIDR>,size=<prefix length>")
    return parse_source(pairs["base"], int(pairs["size"]))


def _network_options(values: Iterable[str] | Mapping[str, Mapping[str, str]]) -> dict[str, dict[str, str]]:
    """`bridge=com.docker.network.driver.mtu=1400` as flags have it, or what the file has: options by driver."""
    if isinstance(values, Mapping):
        return {driver: dict(options) for driver, options in values.items()}
    found: dict[str, dict[str, str]] = {}
    for text in values:
        driver, first, option = text.partition("=")
        name, second, value = option.partition("=")
        if not (driver and first and name and second):
            raise InvalidArgument(f"invalid default network option: {text}: use DRIVER=OPTION=VALUE")
        found.setdefault(driver, {})[name] = value
    return found


def _host_gateways(values: Iterable[object] | str) -> tuple[str, ...]:
    if isinstance(values, str):
        values = [values] if values else []
    addresses = [ipaddress.ip_address(_address("host-gateway-ip", value)) for value in values]
    for version in (4, 6):
        if sum(address.version == version for address in addresses) > 1:
            raise InvalidArgument(f"invalid --host-gateway-ip: only one IPv{version} address is allowed")
    return tuple(str(address) for address in sorted(addresses, key=lambda address: address.version))


def _mark(text: str) -> str:
    """`0x10/0xf0`, as nft reads it. Raises InvalidArgument."""
    try:
        numbers = [int(part, 0) for part in text.split("/")] if text else []
    except ValueError:
        numbers = [-1]
    if len(numbers) > 2 or not all(0 <= number < 1 << 32 for number in numbers):
        raise InvalidArgument(f"invalid --bridge-accept-fwmark: {text!r}: use MARK or MARK/MASK, 32 bits each")
    return "/".join(f"{number:#x}" for number in numbers)


def _host_listener(value: object) -> HostListener | None:
    """`127.0.0.55`, `127.0.0.55:5353`, `[::1]:5353`."""
    if not value:
        return None
    text = str(value)
    address, _, port = text.rpartition(":") if text.count(":") == 1 or "]:" in text else (text, "", "53")
    if not port.isdigit() or not 0 < int(port) < 65536:
        raise InvalidArgument(f"invalid --host-dns: {text!r}: use ADDRESS or ADDRESS:PORT")
    return HostListener(address=_address("host-dns", address.strip("[]")), port=int(port))


def _address(flag: str, value: object) -> str:
    if not value:
        return ""
    try:
        return str(ipaddress.ip_address(str(value)))
    except ValueError:
        raise InvalidArgument(f"invalid --{flag}: {value!r} is not an ip address") from None
