"""What was given to a container by hand is its own while it exists, running or not, also after a restart of everything;
and an address that was given back rests."""

from __future__ import annotations

import signal

from tests.product.network import answers
from tests.product.place import HOST, OUTSIDE, Place


def address(engine: Place, name: str) -> str:
    return str(engine.inspect(name)["NetworkSettings"]["Networks"]["net"]["IPAddress"])


def test_an_address_stays_with_its_container(engine: Place) -> None:
    engine.docker("network", "create", "--subnet", "10.9.0.0/29", "net")
    engine.docker("create", "--name", "owner", "--network", "net", "--ip", "10.9.0.2", "plain", "sleep", "60")
    engine.run("--name", "one", "--network", "net", "plain", "sleep", "60")
    assert address(engine, "one") == "10.9.0.3"  # by chance, with the owner not running
    done = engine.docker("create", "--name", "late", "--network", "net", "--ip", "10.9.0.2", "plain", "sleep", "60")
    assert "WARNING: Address already in use: 10.9.0.2 was given to container owner" in done.err
    refused = engine.docker("start", "late", status=1).err
    assert "Address already in use: 10.9.0.2 was given to container owner" in refused
    engine.docker("start", "owner")
    assert address(engine, "owner") == "10.9.0.2"
    engine.docker("rm", "-f", "owner")
    engine.docker("start", "late")
    assert address(engine, "late") == "10.9.0.2"


def test_not_even_at_boot(engine: Place) -> None:
    """The machine goes down, and all of them come up again, in whatever order."""
    engine.docker("network", "create", "--subnet", "10.9.0.0/29", "net")
    engine.run("--name", "chance", "--restart", "always", "--network", "net", "plain", "sleep", "60")
    engine.run("--name", "owner", "--restart", "always", "--network", "net", "--ip", "10.9.0.3", "plain", "sleep", "60")
    engine.run("--name", "other", "--restart", "always", "--network", "net", "plain", "sleep", "60")
    assert [address(engine, name) for name in ("chance", "owner", "other")] == ["10.9.0.2", "10.9.0.3", "10.9.0.4"]
    engine.docker("stop", "-t", "0", "chance", "owner", "other")
    engine.restart(signal.SIGKILL)
    engine.docker("start", "other", "chance")
    assert sorted(address(engine, name) for name in ("other", "chance")) == ["10.9.0.2", "10.9.0.4"]
    engine.docker("start", "owner")
    assert address(engine, "owner") == "10.9.0.3"


def test_a_mac_stays_with_its_container(engine: Place) -> None:
    engine.docker("network", "create", "--subnet", "10.9.0.0/29", "net")
    mac = "02:42:0a:09:00:02"  # the one that the first address would bring along
    engine.docker("create", "--name", "owner", "--network", "net", "--mac-address", mac, "plain", "sleep", "60")
    engine.run("--name", "one", "--network", "net", "plain", "sleep", "60")
    (link,) = [line for line in engine.out("exec", "one", "ip", "link").splitlines() if "link/ether" in line]
    assert mac not in link
    engine.docker("start", "owner")
    assert mac in engine.out("exec", "owner", "ip", "link", "show", "eth0")
    engine.docker("create", "--name", "late", "--network", "net", "--mac-address", mac, "plain", "sleep", "60")
    assert (
        f"MAC address already in use: {mac} is that of container owner" in engine.docker("start", "late", status=1).err
    )


def test_a_host_port_is_nobodys_by_chance(engine: Place) -> None:
    engine.docker("create", "--name", "owner", "-p", "8001:80", "web")
    engine.run("--name", "one", "-p", "8000-8002:80", "web")
    engine.run("--name", "two", "-p", "8000-8002:80", "web")
    shown = [engine.out("port", name).splitlines() for name in ("one", "two")]
    assert shown == [[f"80/tcp -> 0.0.0.0:800{n}", f"80/tcp -> [::]:800{n}"] for n in (0, 2)]
    refused = engine.docker("run", "-d", "-p", "8000-8002:80", "web", status=125).err
    assert "Bind for 0.0.0.0:8000-8002 failed: all ports are already allocated" in refused
    engine.docker("start", "owner")
    assert answers(engine.there, HOST, 8001) == OUTSIDE


def test_addresses_rest(engine: Place) -> None:
    engine.docker("network", "create", "--subnet", "10.9.0.0/29", "net")
    engine.run("--name", "stays", "--network", "net", "plain", "sleep", "60")
    found = []
    for _ in range(6):
        engine.run("--name", "passing", "--network", "net", "plain", "sleep", "60")
        found.append(address(engine, "passing"))
        engine.docker("rm", "-f", "passing")
    assert found == [f"10.9.0.{n}" for n in (3, 4, 5, 6, 3, 4)]
    engine.docker("restart", "-t", "0", "stays")
    assert address(engine, "stays") == "10.9.0.2"
    engine.docker("rm", "-f", "stays")
    engine.run("--name", "first", "--network", "net", "plain", "sleep", "60")
    assert address(engine, "first") == "10.9.0.2"  # nobody was left: in order, from the beginning
