"""IPv6 on the default bridge, by dockerd's flags; and a host whose IPv6 is turned off. All by real connections."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.product.network import answers, ask, silent, who_server
from tests.product.place import HOST, OUTSIDE, Place
from tests.product.test_configuration import ground as ground
from tests.product.test_configuration import start as start
from tests.product.test_ipv6 import HOST6, OUTSIDE6, SERVER, plain

Start = Callable[..., Place]


@pytest.fixture
def six(start: Start, ground: Place) -> Iterator[Start]:
    """Starts the daemon; the hosts have IPv6 addresses too."""
    for host, address in ((ground.host, HOST6), (ground.outside, OUTSIDE6)):
        host.run(["ip", "address", "add", f"{address}/64", "dev", "eth0", "nodad"])
    yield start
    for host, address in ((ground.host, HOST6), (ground.outside, OUTSIDE6)):
        host.run(["ip", "address", "del", f"{address}/64", "dev", "eth0"])


@pytest.fixture
def without(start: Start, ground: Place) -> Iterator[Start]:
    """Starts the daemon; the host's IPv6 is turned off."""
    settings = [f"net.ipv6.conf.{which}.disable_ipv6" for which in ("all", "default")]
    ground.host.run(["sysctl", "-qw", *(f"{name}=1" for name in settings)])
    yield start
    ground.host.run(["sysctl", "-qw", *(f"{name}=0" for name in settings)])


def web(made: Place, name: str = "web", *options: str) -> Any:
    made.run("--name", name, *options, "web", *SERVER)
    return made.inspect(name)["NetworkSettings"]["Networks"]["bridge"]


def bridge_addresses(made: Place) -> set[str]:
    (link,) = made.ip("-6", "address", "show", "dev", "docker0")
    return {f"{a['local']}/{a['prefixlen']}" for a in link["addr_info"]}


def goes_both_ways(made: Place, own: str, gateway: str) -> None:
    """In by a published port from everywhere, out under the host's address, and on to a neighbour."""
    assert plain(answers(made.there, HOST6, 8080)) == OUTSIDE6 and OUTSIDE in ask(made.there, HOST, 8080)
    for address in (HOST6, "::1", "127.0.0.1", gateway):
        assert ask(made.here, address, 8080), address
    assert ask(made.here, own, 80) and ask(made.sandbox("web"), HOST6, 8080)
    with who_server(made.there, OUTSIDE6, 9000):
        assert plain(ask(made.sandbox("web"), OUTSIDE6, 9000)) == HOST6
    neighbour = web(made, "other")["GlobalIPv6Address"]
    assert answers(made.sandbox("web"), neighbour, 80)


def test_a_subnet_of_our_choice(six: Start) -> None:
    made = six("--ipv6")
    mine = web(made, "web", "-p", "8080:80")
    own, gateway = mine["GlobalIPv6Address"], mine["IPv6Gateway"]
    assert own.startswith("fd") and mine["GlobalIPv6PrefixLen"] == 64
    assert bridge_addresses(made) >= {f"{gateway}/64", "fe80::1/64"}
    goes_both_ways(made, own, gateway)
    made.restart()
    assert ask(made.there, HOST6, 8080)
    made.docker("restart", "-t", "0", "web")
    assert made.inspect("web")["NetworkSettings"]["Networks"]["bridge"]["GlobalIPv6Address"] == own
    assert answers(made.there, HOST6, 8080)


def test_bip6_and_fixed_cidr_v6(six: Start) -> None:
    made = six("--ipv6", "--bip6", "fd00:17::9/64", "--fixed-cidr-v6", "fd00:17::1:0/112")
    mine = web(made, "web", "-p", "8080:80")
    assert (mine["IPv6Gateway"], mine["GlobalIPv6PrefixLen"]) == ("fd00:17::9", 64)
    assert mine["GlobalIPv6Address"].startswith("fd00:17::1:") and "fd00:17::9/64" in bridge_addresses(made)
    goes_both_ways(made, mine["GlobalIPv6Address"], "fd00:17::9")


def test_fixed_cidr_v6_alone_is_the_subnet(six: Start) -> None:
    made = six("--ipv6", "--fixed-cidr-v6", "fd00:18::/80")
    mine = web(made, "web", "-p", "8080:80")
    assert (mine["IPv6Gateway"], mine["GlobalIPv6Address"], mine["GlobalIPv6PrefixLen"]) == (
        "fd00:18::1",
        "fd00:18::2",
        80,
    )
    goes_both_ways(made, "fd00:18::2", "fd00:18::1")
    made.remove_containers()
    made.end()
    made.start("--ipv6", "--fixed-cidr-v6", "fd00:18::/112")  # the same address, of a smaller subnet
    assert "fd00:18::1/112" in bridge_addresses(made)


def test_ipv6_comes_and_goes_with_the_flag(six: Start) -> None:
    made = six()
    assert web(made, "web", "-p", "8080:80")["GlobalIPv6Address"] == ""
    made.remove_containers()
    made.end()
    made.start("--ipv6")
    assert web(made, "web", "-p", "8080:80")["GlobalIPv6Address"]
    assert plain(answers(made.there, HOST6, 8080)) == OUTSIDE6
    made.remove_containers()
    made.end()
    made.start()
    assert web(made, "web", "-p", "8080:80")["GlobalIPv6Address"] == ""
    assert "172.17.0.1" in answers(made.there, HOST6, 8080)  # by the relay


@pytest.mark.parametrize("flags", [(), ("--ipv6",)])
def test_a_host_whose_ipv6_is_off(without: Start, flags: tuple[str, ...]) -> None:
    """IPv4 is as everywhere. Containers may have IPv6 among themselves and with the host: their bridge has it."""
    made = without(*flags)
    web(made, "web", "-p", "8080:80")
    assert made.inspect("web")["NetworkSettings"]["Ports"]["80/tcp"] == [{"HostIp": "0.0.0.0", "HostPort": "8080"}]
    assert OUTSIDE in answers(made.there, HOST, 8080) and ask(made.here, "127.0.0.1", 8080)
    with who_server(made.there, OUTSIDE, 9000):
        assert ask(made.sandbox("web"), OUTSIDE, 9000) == HOST
    made.docker("network", "create", "--ipv6", "--subnet", "fd00:66::/64", "both")
    for name in ("one", "two"):
        made.run("--name", name, "--network", "both", "-p", "80", "web", *SERVER)
    own = made.inspect("two")["NetworkSettings"]["Networks"]["both"]["GlobalIPv6Address"]
    assert answers(made.sandbox("one"), own, 80) and ask(made.here, own, 80)
    assert silent(made.sandbox("web"), own, 80)
    done = made.docker("run", "-d", "--name", "bad", "-p", "[::1]:9090:80", "web", status=125)
    assert "failed to bind host port [::1]:9090/tcp: cannot assign requested address" in done.err
    made.docker("rm", "bad")
    made.restart()
    assert OUTSIDE in ask(made.there, HOST, 8080)
