"""The daemon's flags and daemon.json, each seen in what it changes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.docker_client import DOCKER
from tests.hosts import socket_in
from tests.product.engine import space
from tests.product.network import answers, ask, silent, who_server
from tests.product.place import HOST, OUTSIDE, THIRD, Place, place
from tests.product.traces import settles, traces


@pytest.fixture(scope="module")
def ground(new_folder: Callable[[], Path]) -> Iterator[Place]:
    """Hosts and images; each test starts the daemon with flags of its own."""
    with place(new_folder()) as made:
        made.start()
        made.import_images()
        made.end()
        yield made


@pytest.fixture
def start(ground: Place) -> Iterator[Callable[..., Place]]:
    """Starts the daemon with flags. At the end containers and networks go, so that the next flags find nothing."""

    def begin(*flags: str) -> Place:
        ground.start(*flags)
        return ground

    yield begin
    if ground.process is not None and ground.process.poll() is None:
        ground.clear()
        ground.end()
    assert "Traceback" not in ground.log.read_text()


def container(made: Place, *options: str) -> Any:
    made.run("--name", "web", *options, "web")
    return made.inspect("web")["NetworkSettings"]


def test_bip_fixed_cidr_gateway_mtu(start: Callable[..., Place]) -> None:
    flags = ("--bip", "10.9.0.1/16", "--fixed-cidr", "10.9.7.0/24", "--default-gateway", "10.9.0.2", "--mtu", "1300")
    made = start(*flags)
    found = container(made)
    assert found["Networks"]["bridge"]["IPAddress"].startswith("10.9.7.")
    assert found["Networks"]["bridge"]["Gateway"] == "10.9.0.2"
    (bridge,) = made.ip("addr", "show", "docker0")
    assert ("10.9.0.1", 16) in [(a["local"], a["prefixlen"]) for a in bridge["addr_info"]] and bridge["mtu"] == 1300
    assert "default via 10.9.0.2" in made.out("exec", "web", "ip", "route")
    assert "mtu 1300" in made.out("exec", "web", "ip", "link", "show", "eth0")


def test_the_bridge_follows_a_changed_bip(start: Callable[..., Place]) -> None:
    made = start("--bip", "10.9.0.1/24")
    made.end()
    made.start("--bip", "10.8.0.1/24")
    (bridge,) = made.ip("addr", "show", "docker0")
    assert [a["local"] for a in bridge["addr_info"] if a["family"] == "inet"] == ["10.8.0.1"]
    assert container(made)["Networks"]["bridge"]["IPAddress"] == "10.8.0.2"


@pytest.mark.parametrize(
    "filtered",
    [
        "0",
        pytest.param(
            "1",
            marks=pytest.mark.xfail(
                strict=True,
                reason="with br_netfilter the kernel bridges what it has translated, and isolated ports drop it",
            ),
        ),
    ],
)
def test_icc_false(start: Callable[..., Place], filtered: str) -> None:
    """Also where bridged packets pass the firewall, as on hosts where Docker or Kubernetes was."""
    made = start("--icc=false")
    made.host.run(["sysctl", "-qw", f"net.bridge.bridge-nf-call-iptables={filtered}"])
    own = container(made, "-p", "8080:80")["Networks"]["bridge"]["IPAddress"]
    made.run("--name", "other", "plain", "sleep", "60")
    assert answers(made.there, HOST, 8080) == OUTSIDE
    assert silent(made.sandbox("other"), own, 80)
    assert ask(made.sandbox("other"), HOST, 8080)  # what is published is so for everybody


def test_ip(start: Callable[..., Place]) -> None:
    made = start("--ip", "127.0.0.1")
    assert container(made, "-p", "8080:80")["Ports"]["80/tcp"] == [{"HostIp": "127.0.0.1", "HostPort": "8080"}]
    assert answers(made.here, "127.0.0.1", 8080) and silent(made.there, HOST, 8080)


def test_ip_masq_false(start: Callable[..., Place]) -> None:
    made = start("--ip-masq=false", "--bip", "172.17.0.1/16")
    own = container(made)["Networks"]["bridge"]["IPAddress"]
    made.outside.run(["ip", "route", "add", "172.17.0.0/16", "via", HOST])
    try:
        with who_server(made.there, OUTSIDE, 9000):
            assert made.out("exec", "web", "wget", "-qO-", f"http://{OUTSIDE}:9000/") == own
    finally:
        made.outside.run(["ip", "route", "del", "172.17.0.0/16"])


def test_default_address_pool(start: Callable[..., Place]) -> None:
    made = start("--default-address-pool", "base=10.50.0.0/16,size=24")
    for name in ("n1", "n2"):
        made.docker("network", "create", name)
    assert made.inspect("n1")["IPAM"]["Config"][0]["Subnet"].startswith("10.50.")
    assert made.inspect("n2")["IPAM"]["Config"][0]["Subnet"].endswith(".0/24")


def test_dns(start: Callable[..., Place]) -> None:
    made = start("--dns", "10.1.1.1", "--dns-search", "a.org", "--dns-opt", "ndots:2")
    container(made)
    found = made.out("exec", "web", "cat", "/etc/resolv.conf").splitlines()
    assert {"nameserver 10.1.1.1", "search a.org", "options ndots:2"} <= set(found)
    own = made.out("run", "--rm", "--dns", "10.2.2.2", "plain", "cat", "/etc/resolv.conf")
    assert "nameserver 10.2.2.2" in own and "10.1.1.1" not in own


def test_a_bridge_of_ones_own(start: Callable[..., Place], ground: Place) -> None:
    """`-b br0`, where br0 holds the host's network card: containers are the neighbours' neighbours."""
    host = ground.host
    host.run(["ip", "link", "del", "docker0"], check=False)
    host.run(["ip", "link", "add", "br0", "type", "bridge"])
    host.run(["ip", "addr", "flush", "dev", "eth0"])
    host.run(["ip", "addr", "add", f"{HOST}/24", "dev", "br0"])
    host.run(["ip", "link", "set", "eth0", "master", "br0"])
    host.run(["ip", "link", "set", "br0", "up"])
    third = ground.fabric.plug("third", f"{THIRD}/24")
    try:
        made = start("-b", "br0", "--fixed-cidr", "10.211.55.64/26")
        own = container(made, "-p", "8080:80")["Networks"]["bridge"]["IPAddress"]
        assert own.startswith("10.211.55.") and 64 <= int(own.rpartition(".")[2]) < 128
        assert not [link for link in made.ip("link") if link["ifname"] == "docker0"]
        assert answers(space(third), own, 80) == THIRD  # a neighbour, by the container's own address
        assert answers(space(third), HOST, 8080)
        assert made.inspect("bridge")["Options"]["com.docker.network.bridge.name"] == "br0"
        made.clear()
        made.end()
        assert [link["ifname"] for link in made.ip("link") if link["ifname"] == "br0"]  # it is not ours to remove
    finally:
        third.end()
        host.run(["ip", "link", "del", "br0"])
        host.run(["ip", "addr", "add", f"{HOST}/24", "dev", "eth0"])
        host.run(["ip", "route", "add", "default", "via", OUTSIDE], check=False)


def test_no_bridge(start: Callable[..., Place]) -> None:
    made = start("-b", "none")
    assert not [link for link in made.ip("link") if link["ifname"] == "docker0"]
    assert "bridge" not in made.out("network", "ls", "--format", "{{.Name}}").split()
    found = made.docker("run", "--rm", "plain", "ip", "-o", "link", status=None)
    assert "eth0" not in found.out


def test_refused(ground: Place, tmp_path: Path) -> None:
    file = tmp_path / "daemon.json"

    def with_file(text: str, *flags: str) -> str:
        file.write_text(text)
        return ground.refuses("--config-file", str(file), *flags)

    assert "there is no such bridge" in ground.refuses("-b", "nothing0")
    assert "not a bridge" in ground.refuses("-b", "eth0")
    assert "mutually exclusive" in ground.refuses("-b", "docker0", "--bip", "10.0.0.1/24")
    assert "--bip" in ground.refuses("--bip", "nonsense")
    assert "unrecognized arguments: --nonsense" in ground.refuses("--nonsense")
    assert "no such file" in ground.refuses("--config-file", str(tmp_path / "missing"))
    assert "specified both as a flag and in the configuration file: mtu" in with_file('{"mtu": 1400}', "--mtu", "1300")
    assert "don't match any configuration option: nonsense" in with_file('{"nonsense": 1}')
    assert "daemon.json" in with_file("{")
    assert "dns is a list" in with_file('{"dns": "10.0.0.1"}')
    assert "mtu is a number" in with_file('{"mtu": "big"}')
    assert "icc is true or false" in with_file('{"icc": "no"}')
    assert "whoever reaches an unprotected TCP socket is root" in ground.refuses("-H", "tcp://0.0.0.0:2375")
    assert "invalid bind address" in ground.refuses("-H", "nonsense://x")
    assert "logging level" in ground.refuses("-l", "loud")
    assert "linkspand: cannot start: /proc/" in ground.refuses("--pidfile", "/proc/nowhere/pid")
    assert "cannot make /proc/nowhere" in ground.refuses("--data-root", "/proc/nowhere")


def test_a_data_root_that_cannot_be_written(ground: Place) -> None:
    """A file system that the kernel has made read-only, after errors of the disk say."""
    root = str(ground.data_root)
    ground.host.run(["mount", "--bind", root, root])
    ground.host.run(["mount", "-o", "remount,bind,ro", root])
    try:
        assert "ead-only" in ground.refuses() or "readonly" in ground.refuses()
    finally:
        ground.host.run(["umount", root])


def test_file(start: Callable[..., Place], tmp_path: Path) -> None:
    file = tmp_path / "daemon.json"
    settings = {
        "bip": "10.9.0.1/24",
        "dns": ["10.1.1.1"],
        "icc": False,
        "default-address-pools": [{"base": "10.60.0.0/16", "size": 24}],
        "insecure-registries": ["10.0.0.1:5000"],
        "labels": ["where=here"],
        "userland-proxy": False,
        "live-restore": True,
        "log-opts": {"max-size": "10m"},
    }
    file.write_text(json.dumps(settings))
    made = start("--config-file", str(file))
    assert container(made)["Networks"]["bridge"]["IPAddress"] == "10.9.0.2"
    info = json.loads(made.out("info", "--format", "{{json .}}"))
    assert info["Labels"] == ["where=here"] and "10.0.0.1:5000" in info["RegistryConfig"]["IndexConfigs"]
    assert "10.1.1.1" in made.out("exec", "web", "cat", "/etc/resolv.conf")
    assert "live-restore in the configuration file is accepted" in made.log.read_text()


def test_plain_tcp_when_asked_for_by_name(start: Callable[..., Place]) -> None:
    made = start("-H", "tcp://127.0.0.1:2375", "--tls=false")
    with socket_in(made.here) as client:
        client.connect(("127.0.0.1", 2375))
        client.sendall(b"GET /_ping HTTP/1.0\r\n\r\n")
        assert b" 200 " in client.recv(1000)
    assert silent(made.there, HOST, 2375)


def test_second_daemon_on_the_same_files(start: Callable[..., Place]) -> None:
    made = start()
    before = traces(made)
    assert "is a linkspand already" in made.refuses()
    assert made.docker("ps").status == 0
    settles(made, before)


def test_tls(start: Callable[..., Place], tmp_path: Path) -> None:
    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=tmp_path, check=True, capture_output=True)

    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
    openssl("req", "-x509", *key, "-keyout", "ca-key.pem", "-out", "ca.pem", "-subj", "/CN=ours", "-days", "2")
    openssl("req", "-x509", *key, "-keyout", "alien-key.pem", "-out", "alien.pem", "-subj", "/CN=x", "-days", "2")
    for name, extension in (("server", f"subjectAltName=IP:{HOST}"), ("client", "extendedKeyUsage=clientAuth")):
        openssl("req", *key, "-keyout", f"{name}-key.pem", "-out", f"{name}.csr", "-subj", f"/CN={name}")
        (tmp_path / "extension").write_text(extension)
        sign = ("-CA", "ca.pem", "-CAkey", "ca-key.pem", "-CAcreateserial", "-extfile", "extension", "-days", "2")
        openssl("x509", "-req", "-in", f"{name}.csr", "-out", f"{name}.pem", *sign)
    files = {"--tlscacert": "ca.pem", "--tlscert": "server.pem", "--tlskey": "server-key.pem"}
    flags = [word for flag, file in files.items() for word in (flag, str(tmp_path / file))]
    made = start("--tlsverify", *flags, "-H", f"tcp://{HOST}:2376")

    def ask_with(*options: str) -> subprocess.CompletedProcess[str]:
        environment = {"PATH": made.environment["PATH"], "HOME": str(tmp_path)}
        command = [DOCKER, "-H", f"tcp://{HOST}:2376", *options, "version", "--format", "{{.Server.APIVersion}}"]
        return subprocess.run(
            [*made.outside.enter(tmp_path), *command], capture_output=True, text=True, env=environment, timeout=30
        )

    verify = ("--tlsverify", "--tlscacert", "ca.pem")
    assert ask_with(*verify, "--tlscert", "client.pem", "--tlskey", "client-key.pem").stdout == "1.52\n"
    for options in (
        (),
        ("--tls",),
        (*verify, "--tlscert", "alien.pem", "--tlskey", "alien-key.pem"),
        ("--tlsverify", "--tlscacert", "alien.pem", "--tlscert", "client.pem", "--tlskey", "client-key.pem"),
    ):
        done = ask_with(*options)
        assert done.returncode and "1.52" not in done.stdout, options
    made.docker("version")  # and the unix socket goes on answering
    wrong = [*flags[:-1], str(tmp_path / "ca-key.pem")]
    made.end()
    assert "cannot use --tlscert" in made.refuses("--tlsverify", *wrong, "-H", f"tcp://{HOST}:2376")


def test_validate(ground: Place, tmp_path: Path) -> None:
    """It says so and ends, also while a daemon runs and without touching anything."""
    file = tmp_path / "daemon.json"

    def validated(text: str) -> subprocess.CompletedProcess[str]:
        file.write_text(text)
        command = [*ground.host.enter(), *ground.command("--config-file", str(file), "--validate")]
        return subprocess.run(command, capture_output=True, text=True, env=ground.environment, timeout=30)

    done = validated('{"mtu": 1400}')
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "configuration OK\n")
    done = validated('{"nonsense": 1}')
    assert done.returncode == 1 and "don't match any configuration option: nonsense" in done.stderr


def test_options_of_new_networks_and_two_host_gateways(start: Callable[..., Place]) -> None:
    option = "bridge=com.docker.network.driver.mtu=1400"
    made = start("--default-network-opt", option, "--host-gateway-ip", "10.1.1.1", "--host-gateway-ip", "fd01::1")
    made.docker("network", "create", "own")
    made.docker("network", "create", "-o", "com.docker.network.driver.mtu=1300", "other")
    for network, mtu in (("own", "1400"), ("other", "1300"), ("bridge", "1500")):
        assert made.out("run", "--rm", "--network", network, "plain", "cat", "/sys/class/net/eth0/mtu") == mtu
    hosts = made.out("run", "--rm", "--add-host", "up:host-gateway", "plain", "cat", "/etc/hosts").splitlines()
    assert [line.split() for line in hosts if line.endswith("\tup")] == [["10.1.1.1", "up"], ["fd01::1", "up"]]


def test_reload(start: Callable[..., Place], tmp_path: Path) -> None:
    file = tmp_path / "daemon.json"
    file.write_text('{"labels": ["a=1"]}')
    made = start("--config-file", str(file))

    def reloaded(text: str, until: str) -> str:
        file.write_text(text)
        size = made.log.stat().st_size
        os.kill(made.pid, signal.SIGHUP)
        deadline = time.monotonic() + 10
        while until not in (said := made.log.read_text()[size:]) or "looked over" not in said:
            assert time.monotonic() < deadline, said
            time.sleep(0.02)
        return said

    said = reloaded(
        '{"labels": ["a=2"], "insecure-registries": ["reg:5000"], "debug": true, "mtu": 1400}', "waiting for a restart"
    )
    assert "taken over: log_level, insecure_registries, labels" in said and ": default_bridge" in said
    info = json.loads(made.out("info", "--format", "{{json .}}"))
    assert info["Labels"] == ["a=2"] and "reg:5000" in info["RegistryConfig"]["IndexConfigs"] and info["Debug"]
    assert "the configuration is not reloaded" in reloaded("{", "not reloaded")
    assert json.loads(made.out("info", "--format", "{{json .}}"))["Labels"] == ["a=2"]
    span = ("--since", "1h", "--until", str(time.time()))
    event = made.out("events", *span, "-f", "type=daemon", "--format", "{{.Action}}")
    assert event == "reload"


def test_where_output_is_kept_by_default(start: Callable[..., Place]) -> None:
    own = start("--log-driver", "local", "--log-opt", "max-size=1m")
    own.docker("create", "--name", "one", "plain")
    own.docker("create", "--name", "two", "--log-driver", "json-file", "plain")
    assert own.inspect("one")["HostConfig"]["LogConfig"] == {"Type": "local", "Config": {"max-size": "1m"}}
    assert own.inspect("two")["HostConfig"]["LogConfig"] == {"Type": "json-file", "Config": {}}
    assert own.out("info", "--format", "{{.LoggingDriver}}") == "local"


def test_log_options_in_the_file(ground: Place, start: Callable[..., Place]) -> None:
    file = ground.folder / "daemon.json"
    file.write_text('{"log-driver": "json-file", "log-opts": {"max-size": "1m", "max-file": "2"}}')
    own = start("--config-file", str(file))
    own.docker("create", "--name", "one", "plain")
    assert own.inspect("one")["HostConfig"]["LogConfig"]["Config"] == {"max-size": "1m", "max-file": "2"}


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        (("--log-driver", "asdf"), "no log driver named 'asdf' is registered"),
        (("--log-driver", "syslog"), "logging driver syslog is not part of linkspan"),
        (("--log-opt", "colour=red"), "unknown log opt 'colour' for json-file log driver"),
        (("--log-opt", "max-size"), "invalid --log-opt: max-size"),
    ],
)
def test_no_such_log(ground: Place, flags: tuple[str, ...], text: str) -> None:
    assert text in ground.refuses(*flags)
