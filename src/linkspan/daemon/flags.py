"""dockerd's flags and daemon.json keys: which there are, and how they are read. What they mean is configuration's.

A value has the flag's name, whether it comes from the command line or from the file, where some keys have names of
their own.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from linkspan.errors import InvalidArgument, did_you_mean

DEFAULT_CONFIG_FILE = "/etc/linkspan/daemon.json"

# dockerd's flags that mean nothing here, and what is done instead.
ACCEPTED = {
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
    "shutdown-timeout": "containers outlive the daemon",
    "group": "the socket belongs to group docker where there is one, else to root",
    "selinux-enabled": "SELinux labels are not set",
    "default-shm-size": "use --shm-size with the container",
    "init": "use --init with the container",
    "experimental": "there is nothing experimental to turn on",
    "max-concurrent-downloads": "three images at a time, and of each as many layers as skopeo thinks fit",
    "max-concurrent-uploads": "skopeo sends as many layers at a time as it thinks fit",
    "max-download-attempts": "five attempts",
    "registry-mirror": "mirrors are named in the host's registries.conf",
    "allow-nondistributable-artifacts": "skopeo sends what the registry asks for",
    "log-format": "log lines are text",
    "raw-logs": "log lines have no colours",
    "metrics-addr": "there are no metrics yet",
    "cdi-spec-dir": "devices are given by --device",
    "cpu-rt-period": "use --cpu-rt-period with the container",
    "cpu-rt-runtime": "use --cpu-rt-runtime with the container",
    "cri-containerd": "there is no containerd",
    "default-cgroupns-mode": "use --cgroupns with the container",
    "default-ipc-mode": "use --ipc with the container",
    "default-runtime": "runc runs the containers",
    "add-runtime": "runc runs the containers",
    "default-ulimit": "use --ulimit with the container",
    "feature": "the features are those of this engine",
    "init-path": "tini is looked for as docker-init, then as tini",
    "network-control-plane-mtu": "there is no swarm",
    "network-diagnostic-port": "there is no swarm",
    "node-generic-resource": "there is no swarm",
    "swarm-default-advertise-addr": "there is no swarm",
    "no-new-privileges": "use --security-opt no-new-privileges with the container",
    "seccomp-profile": "use --security-opt seccomp=… with the container; the default profile is Docker's",
    "debug": "",
}
# What would leave open what somebody meant to close is not accepted silently.
REFUSED = {
    "authorization-plugin": "no plugin would be asked, and every request be allowed",
    "userns-remap": "root in a container would be root on the host",
    "rootless": "linkspand makes namespaces and network devices, and needs root",
}
NUMBERS = {
    "mtu": "MTU of the default bridge network",
    "default-subnet-size": "prefix length of subnets for networks that name none, instead of Docker's 16 and 20",
}
TEXT = {
    "bridge": "attach containers to an existing bridge; 'none' disables container networking",
    "bip": "the bridge's address in CIDR form",
    "fixed-cidr": "IPv4 subnet for container addresses",
    "default-gateway": "container default gateway IPv4 address",
    "bip6": "the bridge's IPv6 address in CIDR form",
    "fixed-cidr-v6": "IPv6 subnet for container addresses",
    "default-gateway-v6": "container default gateway IPv6 address",
    "bridge-accept-fwmark": "let packets with this firewall mark (MARK or MARK/MASK) reach containers",
    "ip": "default host address when publishing ports",
    "data-root": "root directory of persistent state (default /var/lib/linkspan)",
    "exec-root": "root directory of execution state (default /run/linkspan)",
    "pidfile": "path of the daemon's PID file (default /run/linkspan.pid)",
    "log-driver": "where containers' output is kept by default: json-file, local or none",
    "log-level": "debug, info (the default), warn, error or fatal",
    "publish-policy": "open, or closed: published ports answer outside only what nft table linkspan-user allows",
    "cgroup-parent": "parent cgroup of all containers",
    "cluster": "join the hosts that share an etcd: etcd://HOST:2379,HOST:2379[/PREFIX]",
    "cluster-tls": "certificates for it: ca=FILE[,cert=FILE,key=FILE][,name=NAME]",
    "join": "the mesh that this host is to join: HOST[:6783], any of its hosts",
    "token": "what lets it join: `linkspan mesh token` shows it on any host of the mesh",
    "mesh-encryption": "on, or off: nothing that goes between the hosts of a mesh is encrypted",
    "ovs-db": "socket of Open vSwitch's database (default unix:$OVS_RUNDIR/db.sock, or under /run/openvswitch)",
    "ovs-datapath": "where Open vSwitch is to switch: system (the kernel), netdev (user space), or auto",
    "bgp": "routes between the cluster's hosts: bird (we run BIRD), external (we write files for yours), or off",
    "advertise": "where the other hosts reach this one: an address of it, or an interface",
    "host-dns": "answer the host's questions for NAME.NETWORK.linkspan at ADDRESS[:PORT]",
    "http-proxy": "proxy for requests to registries by HTTP",
    "https-proxy": "proxy for requests to registries by HTTPS",
    "no-proxy": "registries that are asked without a proxy, with commas between",
    "tlscacert": "trust certificates signed only by this CA",
    "tlscert": "path of the TLS certificate file",
    "tlskey": "path of the TLS key file",
}
LISTS = {
    "host": "socket to listen on: unix://PATH (default unix:///run/linkspan.sock), tcp://ADDRESS:PORT, fd://",
    "host-gateway-ip": "address that 'host-gateway' in --add-host stands for; one of each family",
    "dns": "DNS server to use",
    "dns-search": "DNS search domain to use",
    "dns-opt": "DNS option to use",
    "default-address-pool": "pool for networks that name no subnet: base=10.10.0.0/16,size=24",
    "insecure-registry": "registry (host:port or CIDR) that may be plain HTTP or have any certificate",
    "cluster-interface": "what networks of the cluster call NAME is another interface here: NAME=HERE",
    "label": "key=value label of the daemon",
    "log-opt": "default option of the log driver: max-size=10m",
    "default-network-opt": "option of new networks of a driver: bridge=com.docker.network.driver.mtu=1400",
}
SWITCHES = {
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
    "mesh": "be one of a mesh of hosts, which run what they share among themselves: begin one, or --join one",
    "own-table": "own the nftables table, so that another program's 'flush ruleset' leaves it alone",
}
# daemon.json's key where it differs from the flag.
KEYS: dict[str, str] = {
    "hosts": "host",
    "dns-opts": "dns-opt",
    "host-gateway-ips": "host-gateway-ip",
    "default-address-pools": "default-address-pool",
    "insecure-registries": "insecure-registry",
    "cluster-interfaces": "cluster-interface",
    "labels": "label",
    "log-opts": "log-opt",
    "exec-opts": "exec-opt",
    "storage-opts": "storage-opt",
    "default-network-opts": "default-network-opt",
    "registry-mirrors": "registry-mirror",
    "authorization-plugins": "authorization-plugin",
    "cdi-spec-dirs": "cdi-spec-dir",
    "default-ulimits": "default-ulimit",
    "features": "feature",
    "node-generic-resources": "node-generic-resource",
    "runtimes": "add-runtime",
}

# How --help arranges them.
_SUBJECTS = {
    "itself": "data-root exec-root pidfile log-level",
    "where it listens": "host tls tlsverify tlscacert tlscert tlskey",
    "the network named bridge": (
        "bridge bip fixed-cidr default-gateway bip6 fixed-cidr-v6 default-gateway-v6 ipv6 mtu icc ip-masq ip"
    ),
    "all networks": "default-address-pool default-subnet-size default-network-opt",
    "ports and the firewall": (
        "publish-policy allow-direct-routing bridge-accept-fwmark userland-proxy iptables ip6tables ip-forward "
        "forward-accept own-table"
    ),
    "names": "dns dns-search dns-opt host-dns host-gateway-ip",
    "many hosts": (
        "cluster cluster-tls mesh join token mesh-encryption advertise cluster-interface label bgp ovs-db ovs-datapath"
    ),
    "containers and images": ("cgroup-parent log-driver log-opt insecure-registry http-proxy https-proxy no-proxy"),
}
_ALL = frozenset({*ACCEPTED, *REFUSED, *NUMBERS, *TEXT, *LISTS, *SWITCHES, "config-file", "validate"})
_LETTERS = {"bridge": "b", "log-level": "l", "pidfile": "p", "host": "H", "storage-driver": "s", "group": "G"}


@dataclasses.dataclass(frozen=True, slots=True)
class Given:
    """`values` by flag name, as the command line or JSON has them; `keys` of those that the file alone has, as it has
    them. With `validate` the daemon is not to start."""

    values: dict[str, Any]
    keys: dict[str, str]
    validate: bool = False

    def said(self, name: str, value: str = "") -> str:
        """A flag as it was written, perhaps with its value."""
        return f"{self.keys[name]}{value} in the configuration file" if name in self.keys else f"--{name}{value}"


def gather(arguments: Sequence[str]) -> Given:
    """Flags, joined with daemon.json. Raises InvalidArgument naming the flag or key; exits on --help as usual."""
    parser = _parser()
    parsed, strangers = parser.parse_known_args(arguments)
    if strangers:
        meant = did_you_mean(strangers[0].lstrip("-").partition("=")[0], _ALL, "--")
        parser.error(f"unrecognized arguments: {' '.join(strangers)}{meant or '; --help lists the flags'}")
    given = vars(parsed)
    path, validate = given.pop("config_file"), given.pop("validate")
    values = {name.replace("_", "-"): value for name, value in given.items() if value is not None}
    from_file = _read_file(Path(path or DEFAULT_CONFIG_FILE), required=path is not None)
    keys = {name: key for key, name in KEYS.items()}
    if both := sorted(set(values) & set(from_file) - set(ACCEPTED), key=lambda name: keys.get(name, name)):
        said = (f"{keys.get(n, n)}: (from flag: {_said(values[n])}, from file: {_said(from_file[n])})" for n in both)
        raise InvalidArgument(
            "the following directives are specified both as a flag and in the configuration file: " + ", ".join(said)
        )
    joined = {**from_file, **values}
    found = Given(joined, {name: keys.get(name, name) for name in from_file if name not in values}, validate)
    for name in sorted(set(joined) & set(REFUSED)):
        if joined[name] not in (False, "", [], [""], ["false"]):
            raise InvalidArgument(f"{found.said(name)} is not supported: {REFUSED[name]}")
    return found


def _said(value: object) -> str:
    """As dockerd prints values: [a b], true."""
    if isinstance(value, list):
        return f"[{' '.join(map(_said, value))}]"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="linkspand",
        usage="linkspand [flags]",
        description="The linkspan daemon: containers and their networks, on the Docker Engine API.",
        epilog="Flags may also be set in daemon.json (--config-file), with dockerd's keys.",
        allow_abbrev=False,
    )
    own = parser.add_argument_group("itself")
    own.add_argument("-v", "--version", action="version", version=_version())
    own.add_argument("--validate", action="store_true", help="say whether flags and file are in order, and end")
    own.add_argument("--config-file", help=f"daemon configuration file (default {DEFAULT_CONFIG_FILE}, if there)")
    own.add_argument("-D", "--debug", action="store_const", const=True, help="the same as --log-level=debug")
    short = {name: (f"-{letter}",) for name, letter in _LETTERS.items()}
    for title, names in _SUBJECTS.items():
        group = own if title == "itself" else parser.add_argument_group(title)
        for name in names.split():
            words: dict[str, Any]
            if name in NUMBERS:
                words = {"help": NUMBERS[name], "type": int, "metavar": "NUMBER"}
            elif name in TEXT:
                words = {"help": TEXT[name], "metavar": "VALUE"}
            elif name in LISTS:
                words = {"help": LISTS[name], "action": "append", "metavar": "VALUE"}
            else:
                words = {"help": SWITCHES[name], "nargs": "?", "const": True, "type": _boolean, "metavar": "BOOL"}
            group.add_argument(*short.get(name, ()), f"--{name}", **words)
    accepted = parser.add_argument_group("accepted, and what is done instead")
    for name, text in ACCEPTED.items():
        if name != "debug":
            letters = (*short.get(name, ()), f"--{name}")
            accepted.add_argument(*letters, nargs="?", const=True, action="append", metavar="VALUE", help=text)
    refused = parser.add_argument_group("refused, and why")
    for name, text in REFUSED.items():
        refused.add_argument(f"--{name}", nargs="?", const=True, action="append", metavar="VALUE", help=text)
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
    proxies = found.pop("proxies", {})
    if not isinstance(proxies, dict) or not all(isinstance(one, str) for one in proxies.values()):
        raise InvalidArgument(f"unable to configure the daemon with file {path}: proxies is an object of strings")
    found.update(proxies)
    values: dict[str, Any] = {KEYS.get(str(key), str(key)): value for key, value in found.items()}
    known = {*TEXT, *LISTS, *SWITCHES, *ACCEPTED, *REFUSED, *NUMBERS, "builder"}
    if unknown := sorted(set(values) - known):
        raise InvalidArgument(
            f"unable to configure the daemon with file {path}: the following directives don't match any configuration "
            f"option: {', '.join(unknown)}"
        )
    for key, value in found.items():
        if wanted := _wrong_type(KEYS.get(str(key), str(key)), value):
            raise InvalidArgument(f"unable to configure the daemon with file {path}: {key} is {wanted}")
    return values


def _wrong_type(name: str, value: object) -> str:
    """What a value of the file should be, where it is something else."""
    if name == "default-network-opt":
        fits = isinstance(value, dict) and all(
            isinstance(options, dict) and all(isinstance(one, str) for one in options.values())
            for options in value.values()
        )
        return "" if fits else "an object of options by driver"
    if name == "log-opt":
        fits = isinstance(value, dict) and all(isinstance(one, str) for one in value.values())
        return "" if fits else "an object of strings"
    if name == "host-gateway-ip" and isinstance(value, str):
        return ""  # as dockerd had it, while there was but one
    if name in LISTS:
        entries: tuple[type, ...] = (str, dict) if name == "default-address-pool" else (str,)
        fits = isinstance(value, list) and all(isinstance(one, entries) for one in value)
        return "" if fits else "a list" if entries == (str, dict) else "a list of strings"
    if name in SWITCHES or name == "debug":
        return "" if isinstance(value, bool) else "true or false"
    if name in TEXT:
        return "" if isinstance(value, str) else "a string"
    if name in NUMBERS:
        return "" if isinstance(value, int) and not isinstance(value, bool) else "a number"
    return ""


def _boolean(text: str) -> bool:
    if text.lower() not in ("true", "false", "1", "0"):
        raise argparse.ArgumentTypeError(f"invalid boolean value {text!r}")
    return text.lower() in ("true", "1")
