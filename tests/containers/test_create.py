"""From a request to a record: what the image adds, what is refused and in which words."""

from __future__ import annotations

import msgspec
import pytest

from linkspan.containers.create import CreateRequest, create
from linkspan.containers.names import invent_name
from linkspan.errors import Conflict, InvalidArgument, LinkspanError, NotFound, Unsupported
from linkspan.model.container import (
    Config,
    Container,
    EndpointIpamConfig,
    EndpointSettings,
    HostConfig,
    LogConfig,
    PortBinding,
    RestartPolicy,
)
from linkspan.model.image import Image, ImageConfig
from linkspan.model.network import Network, Pool
from linkspan.model.snapshot import Snapshot, Write, drop, put

IMAGE = Image(
    id="sha256:" + "a" * 64,
    config=ImageConfig(
        env=("PATH=/bin", "LANG=C"),
        cmd=("mysqld",),
        entrypoint=("docker-entrypoint.sh",),
        exposed_ports={"3306/tcp": {}, "33060/tcp": {}},
        volumes={"/var/lib/mysql": {}},
        working_dir="/srv",
        labels={"a": "1"},
        stop_signal="SIGINT",
    ),
    layers=("/layers/one",),
)
NETWORKS = [
    Network(id=f"{name}-id", name=name, driver=d, created="", pools=(Pool(subnet="172.30.0.0/16"),))
    for name, d in (("bridge", "bridge"), ("host", "host"), ("none", "null"), ("back", "bridge"))
]
OTHER = Container(id="0" * 64, name="mysql", created="", image_id="", config=Config(), host_config=HostConfig())
SNAPSHOT = Snapshot().after([*map(put, NETWORKS), put(OTHER)])


def made(
    config: Config | None = None,
    host: HostConfig | None = None,
    name: str = "web",
    snapshot: Snapshot = SNAPSHOT,
    **networks: EndpointSettings,
) -> tuple[Container, tuple[str, ...]]:
    request = CreateRequest(
        id="f" * 64,
        created="now",
        name=name,
        config=config or Config(image="mysql"),
        host_config=host or HostConfig(),
        networks=networks,
        image=IMAGE,
        hostname="machine",
        processors=frozenset({0, 1}),
    )
    return create(snapshot, request)


def test_what_the_image_says_where_the_user_says_nothing() -> None:
    container, warnings = made()
    assert (container.path, container.args) == ("docker-entrypoint.sh", ("mysqld",))
    assert container.config.env == ("PATH=/bin", "LANG=C")
    assert container.config.hostname == "f" * 12
    assert container.config.working_dir == "/srv" and container.config.stop_signal == "SIGINT"
    assert list(container.config.exposed_ports or ()) == ["3306/tcp", "33060/tcp"]
    assert [(m.type, m.destination) for m in container.mounts] == [("volume", "/var/lib/mysql")]
    assert container.host_config.network_mode == "bridge" and list(container.networks) == ["bridge-id"]
    assert warnings == ()


def test_what_the_user_says_goes_first() -> None:
    config = Config(env=("LANG=de", "X=1", "PATH"), cmd=("ls",), labels={"b": "2"}, user="7", hostname="h")
    container, _ = made(config)
    assert container.config.env == ("LANG=de", "X=1", "PATH")  # a bare name takes the variable away, at the start
    assert (container.path, container.args) == ("docker-entrypoint.sh", ("ls",))
    assert container.config.labels == {"a": "1", "b": "2"} and container.config.hostname == "h"
    own_entrypoint, _ = made(Config(entrypoint=("sh",)))
    assert (own_entrypoint.path, own_entrypoint.args) == ("sh", ())  # the image's command goes with its entrypoint
    with pytest.raises(InvalidArgument, match="no command specified"):
        made(Config(entrypoint=("",)))


def test_modes() -> None:
    host, warnings = made(
        host=HostConfig(network_mode="host", port_bindings={"80/tcp": (PortBinding(host_port="80"),)})
    )
    assert host.config.hostname == "machine" and list(host.networks) == ["host-id"]
    assert warnings == ("Published ports are discarded when using host network mode",)
    peer, _ = made(host=HostConfig(network_mode="container:mysql"))
    assert peer.host_config.network_mode == "container:" + "0" * 64 and peer.networks == {}
    assert peer.joins == OTHER.id
    with pytest.raises(NotFound, match="No such container: nobody"):
        made(host=HostConfig(network_mode="container:nobody"))
    with pytest.raises(NotFound, match="network nowhere not found"):
        made(host=HostConfig(network_mode="nowhere"))


PUBLISH = {"80/tcp": (PortBinding(host_port="8080"),)}


@pytest.mark.parametrize(
    ("config", "host", "text"),
    [
        (Config(), HostConfig(port_bindings=PUBLISH), "port publishing and the container type network mode"),
        (Config(), HostConfig(publish_all_ports=True), "port publishing and the container type network mode"),
        (Config(exposed_ports={"1/tcp": {}}), HostConfig(), "port exposing and the container type network mode"),
        (Config(hostname="x"), HostConfig(), "hostname and the network mode"),
        (Config(), HostConfig(dns=("1.1.1.1",)), "dns and the network mode"),
        (Config(), HostConfig(extra_hosts=("a:1.1.1.1",)), "custom host-to-IP mapping and the network mode"),
        (Config(mac_address="02:42:ac:11:00:02"), HostConfig(), "mac-address and the network mode"),
    ],
)
def test_what_does_not_go_with_another_containers_network(config: Config, host: HostConfig, text: str) -> None:
    with pytest.raises(InvalidArgument, match=f"^conflicting options: {text}$"):
        made(config, msgspec.structs.replace(host, network_mode="container:mysql"))


@pytest.mark.parametrize(
    ("config", "host", "kind", "text"),
    [
        (Config(), HostConfig(dns=("nowhere",)), InvalidArgument, "invalid DNS server: 'nowhere' is not an ip address"),
        (Config(), HostConfig(dns=("1.1.1.1\n",)), InvalidArgument, "is not an ip address"),
        (Config(), HostConfig(dns_search=("a b",)), InvalidArgument, "invalid DNS search domain: 'a b'"),
        (Config(), HostConfig(dns_options=("ndots:1\n",)), InvalidArgument, "invalid DNS option: "),
        (Config(), HostConfig(memory=1024), InvalidArgument, "Minimum memory limit allowed is 6MB"),
        (Config(), HostConfig(nano_cpus=3 * 10**9), InvalidArgument, r"range of CPUs is from 0\.01 to 2\.00"),
        (Config(), HostConfig(restart_policy=RestartPolicy(name="x")), InvalidArgument, "unknown policy 'x'"),
        (
            Config(),
            HostConfig(restart_policy=RestartPolicy(name="always"), auto_remove=True),
            InvalidArgument,
            "can't create 'AutoRemove' container with restart policy",
        ),
        (Config(env=("=x",)), HostConfig(), InvalidArgument, "invalid environment variable: =x"),
        (Config(exposed_ports={"99999/tcp": {}}), HostConfig(), InvalidArgument, "invalid port specification"),
        (
            Config(),
            HostConfig(port_bindings={"80/tcp": (PortBinding(host_port="99999"),)}),
            InvalidArgument,
            "invalid host port '99999'",
        ),
        (
            Config(),
            HostConfig(port_bindings={"80/tcp": (PortBinding(host_ip="300.0.0.1"),)}),
            InvalidArgument,
            "invalid host IP address: 300.0.0.1",
        ),
        (Config(), HostConfig(log_config=LogConfig(type="syslog")), Unsupported, "logging driver syslog is not part"),
        (
            Config(),
            HostConfig(log_config=LogConfig(type="x")),
            InvalidArgument,
            "no log driver named 'x' is registered",
        ),
        (Config(stop_signal="SIGFOO"), HostConfig(), InvalidArgument, "invalid signal: SIGFOO"),
        (Config(), HostConfig(binds=("relative:/x:zz",)), InvalidArgument, "invalid mode: zz"),
        (Config(), HostConfig(binds=("/a:b",)), InvalidArgument, "mount path must be absolute"),
        (Config(), HostConfig(binds=("/a:/",)), InvalidArgument, "destination can't be '/'"),
        (Config(), HostConfig(binds=("/a:/x", "/b:/x")), InvalidArgument, "Duplicate mount point: /x"),
        (Config(), HostConfig(binds=("a b:/x",)), InvalidArgument, "includes invalid characters for a local volume"),
    ],
)
def test_refusals(config: Config, host: HostConfig, kind: type[LinkspanError], text: str) -> None:
    with pytest.raises(kind, match=text):
        made(config, host)


def test_names() -> None:
    with pytest.raises(Conflict, match=r'The container name "/mysql" is already in use by container "0{64}"'):
        made(name="mysql")
    with pytest.raises(InvalidArgument, match=r"Invalid container name \(a b\), only \[a-zA-Z0-9\]"):
        made(name="a b")
    taken: set[str] = set()
    for number in range(20000):
        name = invent_name(number, taken.__contains__)
        assert name not in taken
        taken.add(name)


def test_an_address_of_ones_own_is_for_user_defined_networks() -> None:
    wanted = EndpointSettings(ipam_config=EndpointIpamConfig(ipv4_address="172.17.0.9"))
    with pytest.raises(InvalidArgument, match="user defined networks only"):
        made(bridge=wanted)
    wanted = EndpointSettings(ipam_config=EndpointIpamConfig(ipv4_address="172.30.0.9"))
    container, _ = made(host=HostConfig(network_mode="back"), back=wanted)
    assert container.networks == {"back-id": wanted}


def test_a_container_wide_mac_address_is_that_of_the_first_network() -> None:
    mac, other = "02:42:ac:11:00:02", "02:42:ac:11:00:03"
    container, _ = made(Config(mac_address=mac), HostConfig(network_mode="back"), back=EndpointSettings())
    assert container.networks["back-id"].mac_address == mac
    by_id, _ = made(Config(mac_address=mac), HostConfig(network_mode="back-id"), back=EndpointSettings(aliases=("db",)))
    assert by_id.networks == {"back-id": EndpointSettings(aliases=("db",), mac_address=mac)}
    with pytest.raises(InvalidArgument, match="the container-wide MAC address must match the endpoint-specific MAC"):
        made(Config(mac_address=mac), HostConfig(network_mode="back"), back=EndpointSettings(mac_address=other))


@pytest.mark.parametrize("bridge", [drop(NETWORKS[0]), put(msgspec.structs.replace(NETWORKS[0], driver="null"))])
def test_without_a_default_bridge_there_is_no_networking_by_default(bridge: Write) -> None:
    snapshot = SNAPSHOT.after([bridge])
    for mode in ("default", "bridge"):
        container, warnings = made(host=HostConfig(network_mode=mode, port_bindings=PUBLISH), snapshot=snapshot)
        assert container.networks == {} and container.config.network_disabled and warnings == ()
    asked, _ = made(host=HostConfig(network_mode="back"), snapshot=snapshot)
    assert list(asked.networks) == ["back-id"] and not asked.config.network_disabled
    both, _ = made(snapshot=snapshot, back=EndpointSettings())
    assert list(both.networks) == ["back-id"] and not both.config.network_disabled
