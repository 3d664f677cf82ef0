"""Legacy links: what one container is told of another, and what is opened to it."""

from __future__ import annotations

import msgspec
import pytest

from linkspan.engine.join import connect, disconnect, join, leave
from linkspan.engine.links import check_links, children, environment, host_rows, parents, resolve_links, unlink
from linkspan.errors import Conflict, InvalidArgument, NotFound
from linkspan.model.container import Config, Container, EndpointIpamConfig, EndpointSettings, HostConfig
from linkspan.model.endpoint import LinkedPort
from linkspan.model.snapshot import drop, put

from .conftest import World


def made(world: World, name: str, *links: str, **config: object) -> Container:
    container = world.container(name, links=resolve_links(world.now, HostConfig(links=links)))
    container = msgspec.structs.replace(container, config=Config(hostname=f"{name}-host", **config))  # type: ignore[arg-type]
    world.now = world.now.after([put(container)])
    return container


def started(world: World, container: Container) -> Container:
    world.now = world.now.after(join(world.now, container, world.around()).writes)
    world.run(container)
    return world.now.containers[container.id]


def without_icc(world: World) -> None:
    world.now = world.now.after([put(msgspec.structs.replace(world.now.network("bridge"), icc=False))])


def linked(world: World, container: Container) -> tuple[tuple[str, int, str], ...]:
    (endpoint,) = world.now.endpoints_in(container)
    return tuple((one.address, one.port, one.protocol) for one in endpoint.linked)


def test_links_are_kept_by_id_and_follow_a_new_name(world: World) -> None:
    db = made(world, "db")
    web = made(world, "web", "db:database", "db")
    assert web.host_config.links == (f"{db.id}:database", f"{db.id}:db")
    assert [alias for alias, _ in children(world.now, web)] == ["database", "db"]
    renamed = msgspec.structs.replace(db, name="store")
    world.now = world.now.after([put(renamed)])
    assert children(world.now, web)[0] == ("database", renamed)
    assert parents(world.now, renamed) == [("database", web), ("db", web)]
    world.now = world.now.after([drop(renamed)])
    assert children(world.now, web) == []


def test_what_cannot_be_linked(world: World) -> None:
    made(world, "db")
    made(world, "cache")
    world.container("in-host", "host")
    for links, text in (
        (("nobody",), "could not get container for nobody: No such container: nobody"),
        (("in-host",), "conflicting options: host type networking can't be used with links"),
        (("db:x", "cache:x"), "two links have the alias x"),
        (("a:b:c",), "bad format for links: a:b:c"),
    ):
        with pytest.raises(InvalidArgument, match=text):
            resolve_links(world.now, HostConfig(links=links))
    assert resolve_links(world.now, HostConfig()) is None
    # On a network of one's own links are names for the resolver, also of containers that are to come.
    assert len(resolve_links(world.now, HostConfig(links=("nobody", "db:x"), network_mode="own")) or ()) == 1


def test_a_link_to_who_lives_in_anothers_sandbox_is_one_to_its_owner(world: World) -> None:
    db = made(world, "db")
    world.container("peer", f"container:{db.id}")
    assert resolve_links(world.now, HostConfig(links=("peer:p",))) == (f"{db.id}:p",)


def test_the_other_has_to_run_on_the_default_bridge(world: World) -> None:
    db = made(world, "db")
    web = made(world, "web", "db:database")
    with pytest.raises(Conflict, match=r"^Cannot link to a non running container: /db AS /web/database$"):
        join(world.now, web, world.around())
    db = started(world, db)
    check_links(world.now, web)
    world.now = world.now.after(disconnect(world.now, db, world.now.network("bridge")).writes)
    with pytest.raises(Conflict, match=r"^Cannot link to /db, as it does not belong to the default network$"):
        join(world.now, web, world.around())
    elsewhere = msgspec.structs.replace(web, networks={world.now.network("none").id: EndpointSettings()})
    check_links(world.now, elsewhere)  # links mean something on the default bridge alone
    assert environment(world.now, elsewhere) == host_rows(world.now, elsewhere) == []


def test_rows_of_etc_hosts(world: World) -> None:
    started(world, made(world, "db"))
    web = made(world, "web", "db:database", "db")
    assert host_rows(world.now, web) == [
        ("172.17.0.2", "database db-host db"),
        ("172.17.0.2", "db db-host"),
    ]


def test_environment(world: World) -> None:
    ports: dict[str, object] = {f"{port}": {} for port in ("80/tcp", "8002/tcp", "8001/tcp", "8000/tcp", "53/udp")}
    db = made(world, "db", env=("SECRET=x=y", "PATH=/bin", "HOME=/", "BARE"), exposed_ports=ports)
    started(world, db)
    found = environment(world.now, made(world, "web", "db:my-db"))
    assert found[:5] == [
        "MY_DB_PORT=tcp://172.17.0.2:80",
        "MY_DB_PORT_80_TCP=tcp://172.17.0.2:80",
        "MY_DB_PORT_80_TCP_ADDR=172.17.0.2",
        "MY_DB_PORT_80_TCP_PORT=80",
        "MY_DB_PORT_80_TCP_PROTO=tcp",
    ]
    assert [entry for entry in found if "START" in entry or "END" in entry] == [
        "MY_DB_PORT_8000_TCP_START=tcp://172.17.0.2:8000",
        "MY_DB_PORT_8000_TCP_PORT_START=8000",
        "MY_DB_PORT_8000_TCP_END=tcp://172.17.0.2:8002",
        "MY_DB_PORT_8000_TCP_PORT_END=8002",
    ]
    assert found[-6:] == [
        "MY_DB_PORT_53_UDP=udp://172.17.0.2:53",
        "MY_DB_PORT_53_UDP_ADDR=172.17.0.2",
        "MY_DB_PORT_53_UDP_PORT=53",
        "MY_DB_PORT_53_UDP_PROTO=udp",
        "MY_DB_NAME=/web/my-db",
        "MY_DB_ENV_SECRET=x=y",
    ]


def test_where_containers_may_not_talk_a_link_opens_the_exposed_ports(world: World) -> None:
    without_icc(world)
    db = made(world, "db", exposed_ports={"3306/tcp": {}, "53/udp": {}})
    web = made(world, "web", "db")
    other = started(world, made(world, "other"))
    db = started(world, db)
    web = started(world, web)
    opened = (("172.17.0.3", 53, "udp"), ("172.17.0.3", 3306, "tcp"))
    assert linked(world, web) == opened and linked(world, db) == linked(world, other) == ()
    # It ends, somebody takes its address, and it comes back with another one.
    change = leave(world.now, db)
    world.now = world.now.after(change.writes)
    assert linked(world, web) == ()
    third = made(world, "third")
    by_hand = EndpointSettings(ipam_config=EndpointIpamConfig(ipv4_address="172.17.0.3"))
    third = msgspec.structs.replace(third, networks=dict.fromkeys(third.networks, by_hand))
    world.now = world.now.after([put(third)])
    started(world, third)
    started(world, db)
    assert linked(world, web) == tuple((address.replace("0.3", "0.5"), *rest) for address, *rest in opened)
    change = unlink(world.now, world.now.containers[web.id], "db")
    world.now = world.now.after(change.writes)
    assert linked(world, web) == () and world.now.containers[web.id].host_config.links == ()
    with pytest.raises(NotFound, match="container web has no link db"):
        unlink(world.now, world.now.containers[web.id], "db")


def test_connect_and_disconnect_follow(world: World) -> None:
    without_icc(world)
    bridge = world.now.network("bridge")
    db = started(world, made(world, "db", exposed_ports={"80/tcp": {}}))
    web = started(world, made(world, "web", "db"))
    before = linked(world, web)
    assert before == (("172.17.0.2", 80, "tcp"),)
    world.now = world.now.after(disconnect(world.now, db, bridge).writes)
    assert linked(world, web) == ()
    db = world.now.containers[db.id]
    world.now = world.now.after(connect(world.now, db, bridge, EndpointSettings(), world.around()).writes)
    assert linked(world, web) == before


def test_nothing_is_opened_where_everybody_may_talk(world: World) -> None:
    started(world, made(world, "db", exposed_ports={"80/tcp": {}}))
    web = started(world, made(world, "web", "db"))
    (endpoint,) = world.now.endpoints_in(web)
    assert endpoint.linked == tuple[LinkedPort, ...]()
