"""flanneld's flags, as Go takes them (`-iface eth0`, `--iface=eth0`), and its environment (`FLANNELD_IFACE`)."""

from __future__ import annotations

import dataclasses
import ipaddress
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from linkspan.errors import InvalidArgument, Unsupported, did_you_mean
from linkspan.model.flannel import PREFIX
from linkspan.store.etcd.address import ClusterAddress, MemberAddress, Tls

_TEXTS = {
    "etcd-endpoints": (
        "URLs",
        "a comma-delimited list of etcd endpoints",
        "http://127.0.0.1:4001,http://127.0.0.1:2379",
    ),
    "etcd-prefix": ("path", "where flannel's keys are", PREFIX),
    "etcd-keyfile": ("file", "the key of our certificate", ""),
    "etcd-certfile": ("file", "our certificate for etcd", ""),
    "etcd-cafile": ("file", "the authority that etcd's certificates are signed by", ""),
    "iface": ("name or IP", "the interface to other hosts; may be given several times, the first that is there", ""),
    "iface-regex": ("regex", "the same, where no --iface is there: the first whose name or address matches", ""),
    "public-ip": ("IP", "under which other hosts reach this one, if not the interface's own", ""),
    "public-ipv6": ("IP", "the same for IPv6", ""),
    "subnet-file": ("file", "where what Docker needs to know is written", "/run/flannel/subnet.env"),
    "subnet-lease-renew-margin": ("minutes", "how long before its end a lease is renewed, 1 to 1439", "60"),
    "run-dir": ("folder", "for sockets of our own (only here)", "/run/linkspan/flannel"),
}
_SWITCHES = {
    "ip-masq": ("masquerade what leaves the network", False),
    "iptables-forward-rules": ("let the network's traffic pass where other firewalls drop it", True),
    "remove": ("take away what was made on this host, give the lease back, and end (only here)", False),
    "version": ("print the version", False),
    "help": ("print this", False),
}
_SEVERAL = ("iface", "iface-regex")
# Taken for flanneld's sake: what they are about is done otherwise, or not at all.
_ACCEPTED = {"iptables-resync", "v", "vmodule", "logtostderr", "alsologtostderr", "stderrthreshold", "log_dir"}
_ACCEPTED |= {"log_backtrace_at", "healthz-ip", "kube-annotation-prefix", "net-config-path", "kubeconfig-file"}
_ACCEPTED_SWITCHES = {"logtostderr", "alsologtostderr"}
_REFUSED = {
    "kube-subnet-mgr": "leases are kept in etcd only",
    "kube-api-url": "leases are kept in etcd only",
    "etcd-username": "etcd knows us by a certificate (--etcd-certfile)",
    "etcd-password": "etcd knows us by a certificate (--etcd-certfile)",
    "iface-can-reach": "use --iface",
    "healthz-port": "there is no such server; `READY=1` is told to systemd",
}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    cluster: ClusterAddress
    tls: Tls | None
    prefix: str
    interfaces: tuple[str, ...]
    patterns: tuple[re.Pattern[str], ...]
    public_ip: str
    public_ip6: str
    subnet_file: Path
    margin: float  # seconds
    masquerade: bool
    forward: bool
    run_dir: Path
    remove: bool = False


def help_text() -> str:
    lines = ["Usage:  linkspan flannel [OPTION]...", ""]
    lines.append(
        "A host's end of a flannel network, for a Docker that is configured from subnet.env; as flanneld does it."
    )
    lines += ["", "Options (or FLANNELD_… in the environment):"]
    for name, (word, text, default) in _TEXTS.items():
        lines.append(f"  --{name} {word:<{26 - len(name)}} {text}" + (f" (default {default})" if default else ""))
    for name, (text, on) in _SWITCHES.items():
        lines.append(f"  --{name:<27} {text}" + (" (default true)" if on else ""))
    return "\n".join(lines)


def parse(words: Sequence[str], environment: Mapping[str, str]) -> Options | str:
    """The options, or "help" or "version" where that is asked for. Raises InvalidArgument, Unsupported."""
    given = _given(words)
    for wanted in ("help", "version"):
        if wanted in given:
            return wanted
    for name in (*_TEXTS, *_SWITCHES, *_REFUSED):
        value = environment.get("FLANNELD_" + name.replace("-", "_").upper(), "")
        if value and name not in given:
            given[name] = [value]
    for name, reason in _REFUSED.items():
        if given.get(name, [""])[-1] not in ("", "false", "0"):
            raise Unsupported(f"--{name} is not supported: {reason}")

    def text(name: str) -> str:
        return given[name][-1] if name in given else _TEXTS[name][2]

    def switched(name: str) -> bool:
        return _bool(name, given[name][-1]) if name in given else _SWITCHES[name][1]

    cluster, secure = _endpoints(text("etcd-endpoints"))
    return Options(
        cluster=cluster,
        tls=_tls(text("etcd-cafile"), text("etcd-certfile"), text("etcd-keyfile"), secure=secure),
        prefix="/" + text("etcd-prefix").strip("/"),
        interfaces=tuple(given.get("iface", ())),
        patterns=tuple(map(_pattern, given.get("iface-regex", ()))),
        public_ip=_address("public-ip", text("public-ip"), 4),
        public_ip6=_address("public-ipv6", text("public-ipv6"), 6),
        subnet_file=Path(text("subnet-file")).absolute(),
        margin=_margin(text("subnet-lease-renew-margin")),
        masquerade=switched("ip-masq"),
        forward=switched("iptables-forward-rules"),
        run_dir=Path(text("run-dir")).absolute(),
        remove=switched("remove"),
    )


def _given(words: Sequence[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    rest = list(words)
    while rest:
        word = rest.pop(0)
        name, equals, value = word.lstrip("-").partition("=")
        if name == "h":
            name = "help"
        if not word.startswith("-") or word.startswith("---") or not name:
            raise InvalidArgument(f"linkspan flannel takes no arguments: {word}")
        if name not in (*_TEXTS, *_SWITCHES, *_REFUSED, *_ACCEPTED):
            known = (*_TEXTS, *_SWITCHES)
            raise InvalidArgument(f"flag provided but not defined: -{name}{did_you_mean(name, known, '--')}")
        if not equals and (name in _SWITCHES or name in _ACCEPTED_SWITCHES or name == "kube-subnet-mgr"):
            value = "true"
        elif not equals:
            if not rest:
                raise InvalidArgument(f"flag needs an argument: -{name}")
            value = rest.pop(0)
        found[name] = [*found.get(name, ()), value] if name in _SEVERAL else [value]
    return found


def _endpoints(text: str) -> tuple[ClusterAddress, bool]:
    members, schemes = [], set()
    for part in filter(None, map(str.strip, text.split(","))):
        try:
            url = urlsplit(part)
            port = url.port or 2379
        except ValueError:
            raise InvalidArgument(f"invalid value for --etcd-endpoints: {part}") from None
        if url.scheme not in ("http", "https") or not url.hostname or url.path.strip("/"):
            raise InvalidArgument(f"invalid value for --etcd-endpoints: {part}: use http://host:port")
        schemes.add(url.scheme)
        members.append(MemberAddress(url.hostname, port))
    if not members or len(schemes) > 1:
        raise InvalidArgument(f"invalid value for --etcd-endpoints: {text!r}: at least one, all http or all https")
    return ClusterAddress(tuple(dict.fromkeys(members))), schemes == {"https"}


def _tls(ca: str, certificate: str, key: str, *, secure: bool) -> Tls | None:
    if bool(certificate) != bool(key):
        raise InvalidArgument("--etcd-certfile and --etcd-keyfile belong together")
    if secure and not ca:
        raise InvalidArgument("https endpoints need --etcd-cafile")
    if not secure and (ca or certificate):
        raise InvalidArgument("certificates are given, and --etcd-endpoints are http: use https")
    return Tls(ca, certificate, key) if secure else None


def _bool(name: str, value: str) -> bool:
    if value.lower() not in ("true", "false", "t", "f", "1", "0"):
        raise InvalidArgument(f"invalid boolean value {value!r} for -{name}")
    return value.lower() in ("true", "t", "1")


def _pattern(text: str) -> re.Pattern[str]:
    try:
        return re.compile(text)
    except re.error as error:
        raise InvalidArgument(f"invalid value for --iface-regex: {text!r}: {error}") from None


def _address(name: str, text: str, version: int) -> str:
    try:
        if text and ipaddress.ip_address(text).version != version:
            raise ValueError
    except ValueError:
        raise InvalidArgument(f"invalid value for --{name}: {text!r} is no IPv{version} address") from None
    return text


def _margin(text: str) -> float:
    if not text.isdigit() or not 1 <= int(text) <= 1439:
        raise InvalidArgument(f"invalid value for --subnet-lease-renew-margin: {text!r}: 1 to 1439 minutes")
    return int(text) * 60.0
