"""flanneld's flags and environment."""

from __future__ import annotations

from pathlib import Path

import pytest

from linkspan.daemon.flannel.flags import Options, help_text, parse
from linkspan.errors import InvalidArgument, Unsupported
from linkspan.store.etcd.address import MemberAddress, Tls


def options(*words: str, **environment: str) -> Options:
    found = parse(words, {f"FLANNELD_{name}": value for name, value in environment.items()})
    assert isinstance(found, Options)
    return found


def test_what_it_does_by_itself() -> None:
    found = options()
    assert [str(member) for member in found.cluster.members] == ["127.0.0.1:4001", "127.0.0.1:2379"]
    assert (found.prefix, found.subnet_file) == ("/coreos.com/network", Path("/run/flannel/subnet.env"))
    assert (found.margin, found.masquerade, found.forward, found.tls) == (3600.0, False, True, None)


def test_words_as_go_takes_them() -> None:
    found = options("-iface", "eth1", "--iface=10.0.0.1", "-ip-masq", "--iptables-forward-rules=false", "-v", "2")
    assert (found.interfaces, found.masquerade, found.forward) == (("eth1", "10.0.0.1"), True, False)
    assert options("--ip-masq=0").masquerade is False
    assert options("--etcd-prefix=atomic.io/net/", "--subnet-lease-renew-margin=90").margin == 5400
    assert parse(["-help"], {}) == "help" and parse(["--version"], {}) == "version"
    assert "--etcd-endpoints" in help_text() and max(map(len, help_text().splitlines())) < 160


def test_the_environment_says_what_the_words_do_not() -> None:
    found = options("--iface=eth1", IFACE="eth0", IP_MASQ="true", ETCD_PREFIX="/other")
    assert (found.interfaces, found.masquerade, found.prefix) == (("eth1",), True, "/other")


def test_etcd_by_certificate() -> None:
    files = ("--etcd-cafile=ca.pem", "--etcd-certfile=me.pem", "--etcd-keyfile=me.key")
    found = options("--etcd-endpoints=https://h1,https://[fd00::1]:4001", *files)
    assert found.tls == Tls("ca.pem", "me.pem", "me.key")
    assert found.cluster.members == (MemberAddress("h1"), MemberAddress("fd00::1", 4001))


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--etcd-endpoints", ""), "at least one"),
        (("--etcd-endpoints", "http://h1:port"), "invalid value"),
        (("--etcd-endpoints", "h1:2379"), "use http://host:port"),
        (("--etcd-endpoints", "http://h1/path"), "use http://host:port"),
        (("--etcd-endpoints", "http://h1,https://h2"), "all http or all https"),
        (("--etcd-endpoints=https://h1",), "need --etcd-cafile"),
        (("--etcd-cafile=x",), "use https"),
        (("--etcd-certfile=x",), "belong together"),
        (("--ip-masq=maybe",), "invalid boolean value"),
        (("--iface-regex=(",), "iface-regex"),
        (("--public-ip=fd00::1",), "no IPv4 address"),
        (("--public-ipv6=x",), "no IPv6 address"),
        (("--subnet-lease-renew-margin=1440",), "1 to 1439"),
        (("--iface",), "needs an argument"),
        (("--nothing",), "not defined: -nothing"),
        (("--etcd-endpoint=http://h:2379",), "not defined: -etcd-endpoint; did you mean --etcd-endpoints?"),
        (("word",), "no arguments"),
    ],
)
def test_what_is_wrong_is_named(words: tuple[str, ...], says: str) -> None:
    with pytest.raises(InvalidArgument, match=says):
        parse(words, {})


@pytest.mark.parametrize("words", [("--kube-subnet-mgr",), ("--etcd-username=me",), ("--healthz-port=8080",)])
def test_what_is_not_supported_is_not_passed_over(words: tuple[str, ...]) -> None:
    with pytest.raises(Unsupported, match="is not supported"):
        parse(words, {})
    assert isinstance(parse(["--kube-subnet-mgr=false", "--healthz-port=0"], {}), Options)
