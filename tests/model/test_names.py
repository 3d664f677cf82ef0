"""What a container is called, and what it calls others."""

from __future__ import annotations

import pytest

from linkspan.errors import InvalidArgument
from linkspan.model.container import Config, Container, EndpointSettings, HostConfig
from linkspan.model.names import dns_names, link_names, parse_link
from linkspan.model.network import Network

OWN = Network(id="n1", name="own", driver="bridge", created="")
BRIDGE = Network(id="n0", name="bridge", driver="bridge", created="")


def container(hostname: str = "web-host", aliases: tuple[str, ...] | None = None, mode: str = "own") -> Container:
    return Container(
        id="0123456789abcdef",
        name="web",
        created="",
        image_id="",
        config=Config(hostname=hostname),
        host_config=HostConfig(network_mode=mode),
        networks={"n1": EndpointSettings(aliases=aliases), "n0": EndpointSettings(aliases=aliases)},
    )


def test_names_in_dockers_order() -> None:
    assert dns_names(container(aliases=("db", "web")), OWN) == ("web", "db", "0123456789ab", "web-host")
    assert dns_names(container("0123456789ab"), OWN) == ("web", "0123456789ab")
    assert dns_names(container(""), OWN) == ("web", "0123456789ab")


def test_nobody_has_a_name_on_the_default_bridge_or_in_anothers_sandbox() -> None:
    assert dns_names(container(), BRIDGE) == ()
    assert dns_names(container(mode="container:other"), OWN) == ()


@pytest.mark.parametrize(
    "text, expected",
    [
        ("db", ("db", "db")),
        ("db:database", ("db", "database")),
        ("/db:/web/database", ("db", "database")),
    ],
)
def test_links(text: str, expected: tuple[str, str]) -> None:
    assert parse_link(text) == expected


@pytest.mark.parametrize("text", ["", ":", "a:", ":b", "a:b:c", "/:/"])
def test_malformed_links(text: str) -> None:
    with pytest.raises(InvalidArgument, match="link"):
        parse_link(text)


def test_links_as_names() -> None:
    assert link_names(EndpointSettings(links=("db:database", "cache"))) == {"database": "db", "cache": "cache"}
    assert link_names(EndpointSettings()) == {}
