"""dockerd's flags and daemon.json keys: same names, same meaning, and a clear word on what is wrong."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from linkspan.daemon import flags
from linkspan.daemon.configuration import TLS, Configuration, parse_arguments
from linkspan.daemon.reload import reload
from linkspan.errors import InvalidArgument
from linkspan.ipam.pools import DEFAULT_SOURCES


def parsed(tmp_path: Path, *arguments: str, file: dict[str, Any] | None = None) -> Configuration:
    path = tmp_path / "daemon.json"
    path.write_text(json.dumps(file or {}))
    return parse_arguments(["--config-file", str(path), *arguments])


def test_defaults(tmp_path: Path) -> None:
    configuration = parsed(tmp_path)
    assert configuration.hosts == ("unix:///run/linkspan.sock",)
    assert configuration.pool_sources == DEFAULT_SOURCES
    assert configuration.default_bridge.name == "docker0" and configuration.default_bridge.icc
    assert configuration.ip_forward and configuration.tls is None and not configuration.notes


def test_flags_of_the_default_bridge(tmp_path: Path) -> None:
    bridge = parsed(
        tmp_path,
        "--bip=10.1.0.1/24",
        "--fixed-cidr=10.1.0.64/26",
        "--default-gateway",
        "10.1.0.254",
        "--icc=false",
        "--ip-masq=false",
        "--mtu",
        "1400",
        "--ip=10.0.0.4",
    ).default_bridge
    assert (bridge.bip, bridge.fixed_cidr, bridge.default_gateway) == ("10.1.0.1/24", "10.1.0.64/26", "10.1.0.254")
    assert (bridge.icc, bridge.masquerade, bridge.mtu, bridge.binding_address) == (False, False, 1400, "10.0.0.4")


def test_a_bridge_that_is_there(tmp_path: Path) -> None:
    assert parsed(tmp_path, "-b", "br0").bridge == "br0"
    assert parsed(tmp_path, "-b", "none").default_bridge.disabled
    with pytest.raises(InvalidArgument, match="mutually exclusive"):
        parsed(tmp_path, "-b", "br0", "--bip=10.1.0.1/24")


def test_smaller_subnets(tmp_path: Path) -> None:
    found = [(str(s.base), s.size) for s in parsed(tmp_path, "--default-subnet-size=24").pool_sources]
    assert found[0] == ("172.17.0.0/16", 24) and found[-1] == ("192.168.0.0/16", 24) and len(found) == 7
    file = {
        "default-subnet-size": 26,
        "default-address-pools": [{"base": "10.1.0.0/16"}, {"base": "10.2.0.0/16", "size": 28}],
    }
    assert [s.size for s in parsed(tmp_path, file=file).pool_sources] == [26, 28]
    for size in (15, 31):
        with pytest.raises(InvalidArgument, match=f"invalid --default-subnet-size: {size}: it is a prefix length"):
            parsed(tmp_path, f"--default-subnet-size={size}")


def test_other_firewalls(tmp_path: Path) -> None:
    assert parsed(tmp_path).forward_accept and not parsed(tmp_path).publish_closed
    file = {"publish-policy": "closed", "forward-accept": False}
    assert parsed(tmp_path, file=file).publish_closed and not parsed(tmp_path, file=file).forward_accept
    assert not parsed(tmp_path, "--publish-policy=open", "--forward-accept").publish_closed
    with pytest.raises(InvalidArgument, match="invalid --publish-policy: ajar: it is open or closed"):
        parsed(tmp_path, "--publish-policy=ajar")


def test_the_file_has_dockerds_keys(tmp_path: Path) -> None:
    configuration = parsed(
        tmp_path,
        file={
            "hosts": ["unix:///x.sock"],
            "data-root": "/d",
            "dns": ["1.1.1.1"],
            "dns-opts": ["ndots:1"],
            "dns-search": ["example"],
            "insecure-registries": ["10.0.0.1:5000"],
            "default-address-pools": [{"base": "10.10.0.0/16", "size": 24}],
            "icc": False,
            "mtu": 1400,
            "log-level": "warn",
            "storage-driver": "overlay2",
            "features": {"buildkit": True},
        },
    )
    assert configuration.hosts == ("unix:///x.sock",) and configuration.data_root == Path("/d")
    assert (configuration.dns, configuration.dns_options) == (("1.1.1.1",), ("ndots:1",))
    assert configuration.dns_search == ("example",) and configuration.insecure_registries == ("10.0.0.1:5000",)
    assert [(str(s.base), s.size) for s in configuration.pool_sources] == [("10.10.0.0/16", 24)]
    assert not configuration.default_bridge.icc and configuration.default_bridge.mtu == 1400
    assert configuration.log_level == "warn"
    assert [note.partition(" is accepted")[0] for note in configuration.notes] == [
        "features in the configuration file",
        "storage-driver in the configuration file",
    ]


def test_dockerds_flags_that_mean_nothing_here_are_taken_and_said(tmp_path: Path) -> None:
    notes = parsed(tmp_path, "--userland-proxy=false", "--live-restore", "--iptables=false").notes
    assert [note.split()[0] for note in notes] == ["--live-restore", "--iptables=false:"]


def test_what_the_file_says_is_named_as_the_file_has_it(tmp_path: Path) -> None:
    file = {"features": {"cdi": True}, "iptables": False, "firewall-backend": "iptables", "max-concurrent-uploads": 3}
    notes = parsed(tmp_path, "--max-concurrent-uploads=4", "--feature=x", file=file).notes
    assert [re.split(" is accepted|: ", note)[0] for note in notes] == [
        "--feature",
        "firewall-backend in the configuration file",
        "--max-concurrent-uploads",
        "iptables=false in the configuration file",
        "firewall-backend=iptables in the configuration file",
    ]
    with pytest.raises(InvalidArgument, match="authorization-plugins in the configuration file is not supported"):
        parsed(tmp_path, file={"authorization-plugins": ["x"]})


def test_ipv6_and_what_is_filtered(tmp_path: Path) -> None:
    six = parsed(tmp_path, "--ipv6", "--bip6=fd00:17::1/64", "--fixed-cidr-v6=fd00:17::1:0/112").default_bridge
    assert (six.ipv6, six.bip6, six.fixed_cidr6) == (True, "fd00:17::1/64", "fd00:17::1:0/112")
    assert parsed(tmp_path, "--default-gateway-v6=fd00:0::9").default_bridge.default_gateway6 == "fd00::9"
    flags = parsed(tmp_path, "--ip6tables=false", "--allow-direct-routing", "--bridge-accept-fwmark=1/0xff")
    assert (flags.rules, flags.direct_routing, flags.accept_mark) == ({4}, True, "0x1/0xff")
    assert parsed(tmp_path).rules == {4, 6}


def test_a_plain_tcp_socket_has_to_be_asked_for_by_name(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="say --tls=false"):
        parsed(tmp_path, "-H", "tcp://0.0.0.0:2375")
    assert parsed(tmp_path, "-H", "tcp://0.0.0.0:2375", "--tls=false").tls is None
    secured = parsed(tmp_path, "-H", "tcp://0.0.0.0:2376", "--tlsverify", "--tlscacert=/ca")
    assert isinstance(secured.tls, TLS) and secured.tls.verify and secured.tls.ca == "/ca"


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--bip=nonsense"], "invalid --bip: invalid CIDR address: nonsense"),
        (["--bip=172.31.0.1"], "invalid --bip: invalid CIDR address: 172.31.0.1: it is ADDRESS/PREFIX"),
        (["--bip=172.31.0.1/32"], "invalid --bip: 172.31.0.1/32 has no room for a bridge and a container"),
        (["--fixed-cidr=1.2.3"], "invalid --fixed-cidr"),
        (["--bip6=10.0.0.1/24"], "invalid --bip6: invalid CIDR address: 10.0.0.1/24"),
        (["--bridge-accept-fwmark=0x1ffffffff"], "invalid --bridge-accept-fwmark"),
        (["--bridge-accept-fwmark=eth0"], "invalid --bridge-accept-fwmark"),
        (["--default-gateway=x"], "invalid --default-gateway: 'x' is not an ip address"),
        (["--dns=x"], "invalid --dns: 'x' is not an ip address"),
        (["--ip=x"], "invalid --ip"),
        (["--mtu=5"], "invalid MTU: 5"),
        (["--log-level=loud"], "invalid logging level: loud"),
        (["-H", "ftp://x"], "invalid bind address format: ftp://x"),
        (["--default-address-pool=base=10.0.0.0/8"], "use base=<CIDR>,size=<prefix length>"),
        (["--default-address-pool=base=10.0.0.0/24,size=16"], "invalid default-address-pool: size 16"),
    ],
)
def test_mistakes_in_flags(tmp_path: Path, arguments: list[str], text: str) -> None:
    with pytest.raises(InvalidArgument, match=text):
        parsed(tmp_path, *arguments)


def test_a_flag_that_does_not_exist(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for stranger, said in (("--bipp=1", "--bipp=1; did you mean --bip?"), ("now", "now; --help lists the flags")):
        with pytest.raises(SystemExit):
            parsed(tmp_path, stranger)
        assert f"unrecognized arguments: {said}" in capsys.readouterr().err


def test_help_has_every_flag(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse_arguments(["--help"])
    shown = re.findall(r"^  (?:-\w(?: \S+)?, )?--([\w-]+)", capsys.readouterr().out, re.MULTILINE)
    known = {*flags.TEXT, *flags.LISTS, *flags.SWITCHES, *flags.NUMBERS, *flags.ACCEPTED, *flags.REFUSED}
    assert sorted(shown) == sorted({*known, "help", "version", "validate", "config-file"})


def test_mistakes_in_the_file(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="don't match any configuration option: nonsense"):
        parsed(tmp_path, file={"nonsense": 1})
    with pytest.raises(InvalidArgument, match="both as a flag and in the configuration file: mtu"):
        parsed(tmp_path, "--mtu=1400", file={"mtu": 1400})
    with pytest.raises(InvalidArgument, match="no such file"):
        parse_arguments(["--config-file", str(tmp_path / "missing.json")])
    (tmp_path / "broken.json").write_text("{")
    with pytest.raises(InvalidArgument, match=r"broken\.json"):
        parse_arguments(["--config-file", str(tmp_path / "broken.json")])
    (tmp_path / "binary.json").write_bytes(b"\xff\xfe{")
    with pytest.raises(InvalidArgument, match=r"binary\.json"):
        parse_arguments(["--config-file", str(tmp_path / "binary.json")])


def test_what_both_say_is_shown(tmp_path: Path) -> None:
    text = "labels: \\(from flag: \\[a=1\\], from file: \\[a=2 b=3\\]\\), mtu: \\(from flag: 1400, from file: 1300\\)$"
    with pytest.raises(InvalidArgument, match=text):
        parsed(tmp_path, "--label=a=1", "--mtu=1400", file={"labels": ["a=2", "b=3"], "mtu": 1300})


# Of a host that dockerd ran on: everything that its documentation names.
DOCKERDS = {
    "allow-direct-routing": False, "authorization-plugins": [], "bip": "", "bip6": "", "bridge": "",
    "bridge-accept-fwmark": "", "builder": {"gc": {"enabled": True}}, "cgroup-parent": "", "containerd": "/c.sock",
    "containerd-namespace": "docker", "containerd-plugins-namespace": "docker-plugins", "data-root": "", "debug": True,
    "default-address-pools": [{"base": "172.30.0.0/16", "size": 24}], "default-cgroupns-mode": "private",
    "default-gateway": "", "default-gateway-v6": "", "default-network-opts": {"bridge": {"x": "y"}},
    "default-runtime": "runc", "default-shm-size": "64M", "default-ulimits": {"nofile": {"Hard": 64000}},
    "dns": [], "dns-opts": [], "dns-search": [], "exec-opts": [], "exec-root": "", "experimental": False,
    "features": {"cdi": True}, "firewall-backend": "", "fixed-cidr": "", "fixed-cidr-v6": "", "group": "",
    "host-gateway-ip": "10.0.0.1", "hosts": [], "proxies": {"http-proxy": "http://p:80", "no-proxy": "*.example"},
    "icc": False, "init": False, "init-path": "/usr/libexec/docker-init", "insecure-registries": [], "ip": "0.0.0.0",
    "ip-forward": True, "ip-forward-no-drop": False, "ip-masq": False, "iptables": True, "ip6tables": True,
    "ipv6": False, "labels": [], "live-restore": True, "log-driver": "json-file", "log-format": "text",
    "log-level": "", "log-opts": {"max-size": "10m"}, "max-concurrent-downloads": 3, "max-concurrent-uploads": 5,
    "max-download-attempts": 5, "mtu": 0, "no-new-privileges": False, "node-generic-resources": ["g=1"], "pidfile": "",
    "raw-logs": False, "registry-mirrors": [], "runtimes": {"x": {"path": "/x"}}, "seccomp-profile": "",
    "selinux-enabled": False, "shutdown-timeout": 15, "storage-driver": "", "storage-opts": [],
    "swarm-default-advertise-addr": "", "tls": True, "tlscacert": "", "tlscert": "", "tlskey": "", "tlsverify": True,
    "userland-proxy": False, "userland-proxy-path": "/usr/libexec/docker-proxy", "userns-remap": "",
}  # fmt: skip


def test_a_file_written_for_dockerd_is_taken(tmp_path: Path) -> None:
    configuration = parsed(tmp_path, file=DOCKERDS)
    assert (configuration.data_root, configuration.exec_root) == (Path("/var/lib/linkspan"), Path("/run/linkspan"))
    assert configuration.cgroup_parent == "/linkspan" and configuration.log_level == "debug"
    assert configuration.network_options == {"bridge": {"x": "y"}}
    assert configuration.host_gateway_ips == ("10.0.0.1",)
    assert configuration.proxies == (("http_proxy", "http://p:80"), ("no_proxy", "*.example"))
    said = {note.split()[0] for note in configuration.notes}
    assert {"containerd", "storage-driver", "userland-proxy-path", "live-restore"} <= said
    assert all(len(note.splitlines()) == 1 for note in configuration.notes)


def test_a_command_line_written_for_dockerd_is_taken(tmp_path: Path) -> None:
    line = (
        "-H fd:// --containerd=/run/containerd/containerd.sock --containerd-namespace x -s overlay2 -G docker "
        "--default-network-opt bridge=com.docker.network.driver.mtu=1400 --default-network-opt bridge=a=b "
        "--host-gateway-ip fd00::1 --host-gateway-ip 10.0.0.1 --default-ulimit nofile=1024:2048 --feature cdi=true "
        "--registry-mirror https://m.example --log-opt max-size=10m --exec-opt native.cgroupdriver=systemd "
        "--firewall-backend=iptables --live-restore --seccomp-profile=builtin --init --experimental=false "
        "--http-proxy http://p:80 --add-runtime x=/x --userns-remap="
    )
    configuration = parsed(tmp_path, *line.split())
    assert configuration.hosts == ("fd://",)
    assert configuration.network_options == {"bridge": {"com.docker.network.driver.mtu": "1400", "a": "b"}}
    assert configuration.host_gateway_ips == ("10.0.0.1", "fd00::1")
    assert "--firewall-backend=iptables: nftables is used all the same" in configuration.notes
    assert not configuration.validate and parsed(tmp_path, "--validate").validate


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--default-network-opt", "bridge"], "invalid default network option: bridge: use DRIVER=OPTION=VALUE"),
        (["--default-network-opt", "bridge=x"], "invalid default network option: bridge=x"),
        (["--host-gateway-ip", "10.0.0.1", "--host-gateway-ip", "10.0.0.2"], "only one IPv4 address is allowed"),
        (["--host-gateway-ip", "x"], "invalid --host-gateway-ip: 'x' is not an ip address"),
        (["--authorization-plugin", "x"], "--authorization-plugin is not supported: no plugin would be asked"),
        (["--userns-remap", "default"], "--userns-remap is not supported: root in a container would be root"),
    ],
)
def test_what_is_refused(tmp_path: Path, arguments: list[str], text: str) -> None:
    with pytest.raises(InvalidArgument, match=text):
        parsed(tmp_path, *arguments)


def test_what_a_running_daemon_takes_over(tmp_path: Path) -> None:
    current = parsed(tmp_path, "--mtu=1400", file={"labels": ["a=1"], "debug": True})
    wanted = parsed(tmp_path, "--mtu=1300", file={"labels": ["a=2"], "insecure-registries": ["r:5000"]})
    found = reload(current, wanted)
    assert set(found.taken) == {"labels", "insecure_registries", "log_level"} and found.waiting == ("default_bridge",)
    now = found.configuration
    assert (now.labels, now.insecure_registries, now.log_level) == (("a=2",), ("r:5000",), "info")
    assert now.default_bridge.mtu == 1400
    assert reload(now, now).taken == reload(now, now).waiting == ()


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ({"dns": "1.1.1.1"}, "dns is a list of strings"),
        ({"dns": ["nowhere"]}, "invalid --dns: 'nowhere' is not an ip address"),
        ({"dns-search": ["a b"]}, "invalid DNS search domain: 'a b'"),
        ({"hosts": [1]}, "hosts is a list of strings"),
        ({"labels": "a=b"}, "labels is a list of strings"),
        ({"default-address-pools": "x"}, "default-address-pools is a list"),
        ({"icc": "no"}, "icc is true or false"),
        ({"debug": 1}, "debug is true or false"),
        ({"bip": 5}, "bip is a string"),
        ({"default-subnet-size": "24"}, "default-subnet-size is a number"),
        ({"exec-root": None}, "exec-root is a string"),
        ({"cgroup-parent": ["a"]}, "cgroup-parent is a string"),
        ({"mtu": "1500"}, "mtu is a number"),
        ({"mtu": True}, "mtu is a number"),
        ({"default-network-opts": ["x"]}, "default-network-opts is an object of options by driver"),
        ({"default-network-opts": {"bridge": {"x": 1}}}, "default-network-opts is an object of options by driver"),
        ({"proxies": {"http-proxy": 1}}, "proxies is an object of strings"),
        ({"host-gateway-ips": "10.0.0.x"}, "is not an ip address"),
        ({"labels": ["nonsense"]}, "bad attribute format: nonsense"),
        ({"insecure-registries": ["http://reg:5000"]}, "insecure registry http://reg:5000 is not valid"),
    ],
)
def test_values_of_a_wrong_type_or_form(tmp_path: Path, file: dict[str, Any], text: str) -> None:
    with pytest.raises(InvalidArgument, match=text):
        parsed(tmp_path, file=file)


def test_who_routes_between_hosts(tmp_path: Path) -> None:
    assert parsed(tmp_path).bgp == "bird"
    assert parsed(tmp_path, "--bgp=external").bgp == "external" and parsed(tmp_path, file={"bgp": "off"}).bgp == "off"
    with pytest.raises(InvalidArgument, match="invalid --bgp: 'frr': use bird, external or off"):
        parsed(tmp_path, "--bgp=frr")
