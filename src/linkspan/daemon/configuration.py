"""Flags and daemon.json: dockerd's names and meanings, so that a unit file written for dockerd starts linkspand."""

from __future__ import annotations

import argparse
import dataclasses
import ipaddress
import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from linkspan.engine.bridges import DefaultBridge
from linkspan.errors import InvalidArgument
from linkspan.ipam.pools import DEFAULT_SOURCES, PoolSource, parse_source
from linkspan.state.names import HostListener

log = logging.getLogger(__name__)
DEFAULT_HOST = "unix:///run/linkspan.sock"
DEFAULT_CONFIG_FILE = "/etc/linkspan/daemon.json"


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
    labels: tuple[str, ...] = ()
    cgroup_parent: str = "/linkspan"
    owned_table: bool = True
    publish_closed: bool = False  # published ports answer outside only what linkspan-user allows
    forward_accept: bool = True
    notes: tuple[str, ...] = ()  # said once at start: flags that are accepted and do nothing here


# dockerd's flags that mean nothing here, and what is done instead.
_ACCEPTED = {
    "userland-proxy-path": "published ports are nftables map elements; what the kernel cannot do our own relay does",
    "storage-driver": "layers are always mounted with overlayfs",
    "storage-opt": "layers are always mounted with overlayfs",
    "containerd": "runc and conmon run the containers, there is no containerd",
    "containerd-namespace": "there is no containerd",
    "containerd-plugins-namespace": "there is no containerd",
    "exec-opt": "cgroups are driven directly (cgroupfs)",
    "live-restore": "always on: containers and their ports outlive the daemon",
    "firewall-backend": "the backend is nftables",
    "ip-forward-no-drop": "the policy of other tables is left alone",
    "log-driver": "conmon writes the log; it reads back as json-file does",
    "log-opt": "conmon writes the log; it reads back as json-file does",
    "shutdown-timeout": "containers outlive the daemon",
    "group": "the socket belongs to group docker where there is one, else to root",
    "selinux-enabled": "SELinux labels are not set",
    "default-shm-size": "use --shm-size with the container",
    "init": "use --init with the container",
    "experimental": "there is nothing experimental to turn on",
    "metrics-addr": "there are no metrics yet",
    "max-concurrent-downloads": "three images at a time, and of each as many layers as skopeo thinks fit",
    "max-concurrent-uploads": "skopeo sends as many layers at a time as it thinks fit",
    "max-download-attempts": "five attempts",
    "debug": "",
}
_TEXT = {
    "bridge": "attach containers to an existing bridge; 'none' disables container networking",
    "bip": "the bridge's address in CIDR form",
    "fixed-cidr": "IPv4 subnet for container addresses",
    "default-gateway": "container default gateway IPv4 address",
    "bip6": "the bridge's IPv6 address in CIDR form",
    "fixed-cidr-v6": "IPv6 subnet for container addresses",
    "default-gateway-v6": "container default gateway IPv6 address",
    "bridge-accept-fwmark": "let packets with this firewall mark (MARK or MARK/MASK) reach containers",
    "ip": "default host address when publishing ports",
    "data-root": "root directory of persistent state",
    "exec-root": "root directory of execution state",
    "pidfile": "path of the daemon's PID file",
    "log-level": "debug, info, warn, error or fatal",
    "publish-policy": "open, or closed: published ports answer outside only what nft table linkspan-user allows",
    "cgroup-parent": "parent cgroup of all containers",
    "host-dns": "answer the host's questions for NAME.NETWORK.linkspan at ADDRESS[:PORT]",
    "tlscacert": "trust certificates signed only by this CA",
    "tlscert": "path of the TLS certificate file",
    "tlskey": "path of the TLS key file",
}
_LISTS = {
    "host": "socket to listen on: unix://PATH, tcp://ADDRESS:PORT, fd://",
    "host-gateway-ip": "address that 'host-gateway' in --add-host stands for; one of each family",
    "dns": "DNS server to use",
    "dns-search": "DNS search domain to use",
    "dns-opt": "DNS option to use",
    "default-address-pool": "pool for networks that name no subnet: base=10.10.0.0/16,size=24",
    "insecure-registry": "registry (host:port or CIDR) that may be plain HTTP or have any certificate",
    "label": "key=value label of the daemon",
}
_FLAGS = {
    "icc": "containers on the default bridge may talk to each other",
    "userland-proxy": "relay published IPv6 ports to containers that have IPv4 only, and from ::1: one process for all",
    "ip-masq": "masquerade what leaves the host",
    "ip-forward": "turn on net.ipv4.ip_forward, and IPv6 forwarding where a network has IPv6",
    "ipv6": "give the default bridge network IPv6 as well",
    "iptables": "filter and translate IPv4 (in the nftables table inet linkspan)",
    "ip6tables": "filter and translate IPv6 (in the nftables table inet linkspan)",
    "allow-direct-routing": "let published ports be reached at the containers' own addresses",
    "tls": "use TLS",
    "tlsverify": "use TLS and verify the client",
    "forward-accept": "where another firewall drops what is forwarded, keep a rule there that accepts what is ours",
    "own-table": "own the nftables table, so that another program's 'flush ruleset' leaves it alone",
}
# daemon.json's key where it differs from the flag.
_KEYS: dict[str, str] = {
    "hosts": "host",
    "dns-opts": "dns-opt",
    "host-gateway-ips": "host-gateway-ip",
    "default-address-pools": "default-address-pool",
    "insecure-registries": "insecure-registry",
    "labels": "label",
    "log-opts": "log-opt",
    "exec-opts": "exec-opt",
    "storage-opts": "storage-opt",
}


def parse_arguments(arguments: Sequence[str]) -> Configuration:
    """Flags, joined with daemon.json. Raises InvalidArgument naming the flag or key; exits on --help as usual."""
    given = vars(_parser().parse_args(arguments))
    path = given.pop("config_file")
    values = {name.replace("_", "-"): value for name, value in given.items() if value is not None}
    from_file = _read_file(Path(path or DEFAULT_CONFIG_FILE), required=path is not None)
    if both := sorted(set(values) & set(from_file) - set(_ACCEPTED)):
        raise InvalidArgument(
            "the following directives are specified both as a flag and in the configuration file: " + ", ".join(both)
        )
    return configure({**from_file, **values})


def configure(values: Mapping[str, Any]) -> Configuration:
    """From values by flag name, as JSON has them. Raises InvalidArgument."""
    notes = tuple(f"--{name} is accepted: {_ACCEPTED[name]}" for name in sorted(values) if _ACCEPTED.get(name))
    notes += tuple(
        f"--{name}=false: no IPv{version} port is published, and nothing of IPv{version} is filtered or masqueraded: "
        "that is left to rules of the host's own"
        for version, name in ((4, "iptables"), (6, "ip6tables"))
        if not values.get(name, True)
    )
    if str(values.get("firewall-backend", "nftables")) not in ("nftables", ""):
        notes += (f"--firewall-backend={values['firewall-backend']}: nftables is used all the same",)
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
    level = "debug" if values.get("debug") else str(values.get("log-level", "info"))
    if level not in ("debug", "info", "warn", "error", "fatal"):
        raise InvalidArgument(f"invalid logging level: {level}")
    bridge = str(values.get("bridge", ""))
    for name in ("bip", "bip6"):
        if bridge and values.get(name):
            raise InvalidArgument(f"you specified --bridge and --{name}, mutually exclusive options: choose one")
    return Configuration(
        hosts=hosts,
        tls=tls,
        data_root=Path(str(values.get("data-root", "/var/lib/linkspan"))).absolute(),
        exec_root=Path(str(values.get("exec-root", "/run/linkspan"))).absolute(),
        pidfile=Path(pidfile) if pidfile else None,
        log_level=level,
        bridge=bridge,
        default_bridge=_default_bridge(values, bridge),
        ip_forward=bool(values.get("ip-forward", True)),
        rules=frozenset(v for v, name in ((4, "iptables"), (6, "ip6tables")) if values.get(name, True)),
        relay=bool(values.get("userland-proxy", True)),
        direct_routing=bool(values.get("allow-direct-routing", False)),
        accept_mark=_mark(str(values.get("bridge-accept-fwmark", ""))),
        pool_sources=tuple(map(_pool_source, values.get("default-address-pool", ()))) or DEFAULT_SOURCES,
        dns=tuple(_address("dns", server) for server in values.get("dns", ())),
        dns_search=tuple(map(str, values.get("dns-search", ()))),
        dns_options=tuple(map(str, values.get("dns-opt", ()))),
        host_dns=_host_listener(values.get("host-dns", "")),
        host_gateway_ips=_host_gateways(values.get("host-gateway-ip", ())),
        insecure_registries=tuple(map(_registry, values.get("insecure-registry", ()))),
        labels=tuple(map(_label, values.get("label", ()))),
        cgroup_parent="/" + str(values.get("cgroup-parent", "linkspan")).strip("/"),
        owned_table=bool(values.get("own-table", True)),
        publish_closed=_publish_policy(values.get("publish-policy", "open")) == "closed",
        forward_accept=bool(values.get("forward-accept", True)),
        notes=notes,
    )


def _publish_policy(value: object) -> str:
    if value not in ("open", "closed"):
        raise InvalidArgument(f"invalid --publish-policy: {value}: it is open or closed")
    return str(value)


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
        if values.get(name):
            try:
                kind(str(values[name]))
            except ValueError:
                raise InvalidArgument(f"invalid --{name}: invalid CIDR address: {values[name]}") from None
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


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="linkspand",
        usage="linkspand [flags]",
        description="The linkspan daemon: containers and their networks, on the Docker Engine API.",
        epilog="Flags may also be set in daemon.json (--config-file), with dockerd's keys.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=_version())
    parser.add_argument("--config-file", help=f"daemon configuration file (default {DEFAULT_CONFIG_FILE}, if there)")
    parser.add_argument("--mtu", type=int, help="MTU of the default bridge network")
    parser.add_argument("-D", "--debug", action="store_const", const=True, help="the same as --log-level=debug")
    short = {"bridge": ("-b",), "log-level": ("-l",), "pidfile": ("-p",), "host": ("-H",)}
    for name, text in _TEXT.items():
        parser.add_argument(*short.get(name, ()), f"--{name}", help=text)
    for name, text in _LISTS.items():
        parser.add_argument(*short.get(name, ()), f"--{name}", action="append", help=text)
    for name, text in _FLAGS.items():
        parser.add_argument(f"--{name}", nargs="?", const=True, type=_boolean, metavar="BOOL", help=text)
    for name, text in _ACCEPTED.items():
        if name != "debug":
            parser.add_argument(f"--{name}", nargs="?", const=True, action="append", help=f"accepted; {text}")
    return parser


def _version() -> str:
    from linkspan import __version__

    return f"linkspand version {__version__}"


def _read_file(path: Path, *, required: bool) -> dict[str, Any]:
    try:
        found = json.loads(path.read_bytes().strip() or b"{}")
    except FileNotFoundError:
        if required:
            raise InvalidArgument(f"unable to configure the daemon with file {path}: no such file") from None
        return {}
    except OSError as error:
        raise InvalidArgument(f"unable to configure the daemon with file {path}: {error.strerror}") from None
    except ValueError as error:
        raise InvalidArgument(f"unable to configure the daemon with file {path}: {error}") from None
    if not isinstance(found, dict):
        raise InvalidArgument(f"unable to configure the daemon with file {path}: not a JSON object")
    values: dict[str, Any] = {_KEYS.get(str(key), str(key)): value for key, value in found.items()}
    known = {*_TEXT, *_LISTS, *_FLAGS, *_ACCEPTED, "mtu"}
    if unknown := sorted(set(values) - known - {"features", "default-ulimits", "builder", "runtimes"}):
        raise InvalidArgument(
            f"unable to configure the daemon with file {path}: the following directives don't match any configuration "
            f"option: {', '.join(unknown)}"
        )
    for key, value in found.items():
        if wanted := _wrong_type(_KEYS.get(str(key), str(key)), value):
            raise InvalidArgument(f"unable to configure the daemon with file {path}: {key} is {wanted}")
    return values


def _wrong_type(name: str, value: object) -> str:
    """What a value of the file should be, where it is something else."""
    if name in _LISTS:
        entries: tuple[type, ...] = (str, dict) if name == "default-address-pool" else (str,)
        fits = isinstance(value, list) and all(isinstance(one, entries) for one in value)
        return "" if fits else "a list" if entries == (str, dict) else "a list of strings"
    if name in _FLAGS or name == "debug":
        return "" if isinstance(value, bool) else "true or false"
    if name in _TEXT:
        return "" if isinstance(value, str) else "a string"
    if name == "mtu":
        return "" if isinstance(value, int) and not isinstance(value, bool) else "a number"
    return ""


def _boolean(text: str) -> bool:
    if text.lower() not in ("true", "false", "1", "0"):
        raise argparse.ArgumentTypeError(f"invalid boolean value {text!r}")
    return text.lower() in ("true", "1")


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


def _pool_source(value: object) -> PoolSource:
    if isinstance(value, str):
        pairs = {name: text for name, _, text in (part.partition("=") for part in value.split(","))}
    elif isinstance(value, dict):
        pairs = {str(k): str(v) for k, v in value.items()}
    else:
        raise InvalidArgument(f"invalid default-address-pool: {value!r}")
    if set(pairs) != {"base", "size"} or not pairs["size"].isdigit():
        raise InvalidArgument(f"invalid default-address-pool: {value}: use base=<CIDR>,size=<prefix length>")
    return parse_source(pairs["base"], int(pairs["size"]))


def _host_gateways(values: Iterable[object]) -> tuple[str, ...]:
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
