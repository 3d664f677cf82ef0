"""`linkspan pipework`: interfaces by hand, which are recorded: they heal, come back, and leave nothing."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.product.network import answers, ask, silent
from tests.product.place import HOST, OUTSIDE, Place, place
from tests.product.traces import settles, traces

FREE, WIRED = "10.211.55.50", "10.99.0.9"


@pytest.fixture(scope="module")
def ground(new_folder: Callable[[], Path]) -> Iterator[Place]:
    """A host whose network card is on a bridge of its own, as in the scenario, and one more card, `eth1`."""
    with place(new_folder()) as made:
        for command in (
            "ip link add br0 type bridge",
            f"ip address del {HOST}/24 dev eth0",
            "ip link set eth0 master br0",
            f"ip address add {HOST}/24 dev br0",
            "ip link set br0 up",
            f"ip route add default via {OUTSIDE}",
        ):
            made.host.run(command.split())
        # One more network card, wired to the host outside.
        wire = f"ip link add wire type veth peer name eth1 netns {made.host.pid}"
        subprocess.run(["nsenter", f"--target={made.outside.pid}", "--net", "--", *wire.split()], check=True)
        made.host.run(["ip", "link", "set", "eth1", "up"])
        made.outside.run(["ip", "link", "set", "wire", "up"])
        made.outside.run(["ip", "address", "add", f"{WIRED}/24", "dev", "wire"])
        made.start()
        made.import_images()
        yield made


@pytest.fixture
def engine(ground: Place) -> Iterator[Place]:
    before = traces(ground)
    yield ground
    ground.clear()
    settles(ground, before)
    assert "Traceback" not in ground.log.read_text(), ground.log.read_text()[-4000:]


def inside(engine: Place, ref: str, *command: str) -> Any:
    """`ip -j …` in a container's sandbox."""
    return json.loads(engine.host.run([*entering(engine, ref), "ip", "-j", *command]).stdout or "[]")


def entering(engine: Place, ref: str) -> list[str]:
    return ["nsenter", "-t", str(engine.inspect(ref)["State"]["Pid"]), "-n"]


def given(engine: Place, ref: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = engine.inspect(ref)["NetworkSettings"].get("Interfaces", [])
    return found


def until(holds: Callable[[], bool], within: float = 15) -> None:
    deadline = time.monotonic() + within
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_container_without_networks_is_on_the_hosts_segment(engine: Place) -> None:
    engine.run("--name", "one", "--net", "none", "web")
    done = engine.linkspan("pipework", "br0", "one", f"{FREE}/24@{OUTSIDE}")
    assert done.both == ""
    assert answers(engine.there, FREE, 80) == OUTSIDE  # a host on the segment reaches it by its own address
    assert engine.docker("exec", "one", "ping", "-c", "1", "-W", "2", OUTSIDE).status == 0
    (link,) = given(engine, "one")
    assert (link["Name"], link["HostInterface"], link["Kind"]) == ("eth1", "br0", "bridge")
    assert (link["Address"], link["Gateway"]) == (f"{FREE}/24", OUTSIDE)
    (eth1,) = inside(engine, "one", "address", "show", "eth1")
    assert eth1["address"] == link["MacAddress"] and eth1["mtu"] == 1500
    assert eth1["addr_info"][0]["broadcast"] == "10.211.55.255"
    assert [r["gateway"] for r in inside(engine, "one", "route") if r["dst"] == "default"] == [OUTSIDE]
    assert "Networks" in engine.inspect("one")["NetworkSettings"]
    assert [r for r in engine.ip("link") if r.get("master") == "br0" and r["ifname"] == link["HostEnd"]]


def test_ipv6(engine: Place) -> None:
    engine.outside.run(["ip", "address", "add", "fd00:55::9/64", "dev", "eth0", "nodad"])
    engine.run("--name", "one", "--net", "none", "web", "httpd", "-f", "-p", "[::]:80", "-h", "/www")
    engine.linkspan("pipework", "br0", "-a", "6", "one", "fd00:55::50/64@fd00:55::9")
    assert "fd00:55::9" in answers(engine.there, "fd00:55::50", 80)
    assert [r["gateway"] for r in inside(engine, "one", "-6", "route") if r["dst"] == "default"] == ["fd00:55::9"]
    engine.outside.run(["ip", "address", "del", "fd00:55::9/64", "dev", "eth0"])


def test_in_anothers_network_and_before_the_start(engine: Place) -> None:
    engine.docker("create", "--name", "owner", "--net", "none", "web")
    engine.linkspan("pipework", "br0", "owner", f"{FREE}/24")
    assert given(engine, "owner")[0]["Address"] == f"{FREE}/24"
    engine.docker("start", "owner")
    assert answers(engine.there, FREE, 80) == OUTSIDE
    engine.run("--name", "joined", "--net", "container:owner", "plain", "sleep", "1000")
    engine.linkspan("pipework", "br7", "-i", "eth7", "joined", "10.7.7.7/24")
    assert [link["Name"] for link in given(engine, "owner")] == ["eth1", "eth7"] and given(engine, "joined") == []
    assert "eth7" in engine.docker("exec", "joined", "ip", "link").out
    engine.docker("stop", "owner")  # its network lives on in the other one, interfaces and all
    assert "eth7" in engine.docker("exec", "joined", "ip", "link").out
    engine.docker("start", "owner")
    assert answers(engine.there, FREE, 80) == OUTSIDE


def test_it_comes_back_with_the_container(engine: Place) -> None:
    engine.run("--name", "one", "--net", "none", "web")
    engine.linkspan("pipework", "br0", "one", f"{FREE}/24")
    answers(engine.there, FREE, 80)
    (before,) = given(engine, "one")
    engine.docker("stop", "one")
    assert silent(engine.there, FREE, 80)
    assert [link for link in engine.ip("link") if link["ifname"] == before["HostEnd"]] == []
    engine.docker("start", "one")
    assert answers(engine.there, FREE, 80) == OUTSIDE
    engine.docker("restart", "one")
    assert answers(engine.there, FREE, 80) == OUTSIDE
    assert given(engine, "one") == [before]


def test_it_survives_the_daemon(engine: Place) -> None:
    engine.run("--name", "one", "--net", "none", "web")
    engine.linkspan("pipework", "br0", "one", f"{FREE}/24")
    answers(engine.there, FREE, 80)
    before = given(engine, "one")
    engine.end(signal.SIGKILL)
    assert ask(engine.there, FREE, 80) == OUTSIDE
    engine.host.run(["ip", "link", "del", before[0]["HostEnd"]])  # while nobody looks
    engine.start()
    assert answers(engine.there, FREE, 80) == OUTSIDE
    assert given(engine, "one") == before


def test_what_another_hand_removes_is_put_back(engine: Place) -> None:
    engine.run("--name", "one", "--net", "none", "web")
    engine.linkspan("pipework", "br0", "one", f"{FREE}/24@{OUTSIDE}")
    answers(engine.there, FREE, 80)
    (link,) = given(engine, "one")
    engine.host.run(["ip", "link", "del", link["HostEnd"]])
    answers(engine.there, FREE, 80, within=15)
    engine.host.run(["ip", "link", "set", link["HostEnd"], "nomaster"])
    answers(engine.there, FREE, 80, within=15)
    engine.host.run([*entering(engine, "one"), "ip", "link", "del", "eth1"])
    answers(engine.there, FREE, 80, within=15)
    assert [r["gateway"] for r in inside(engine, "one", "route") if r["dst"] == "default"] == [OUTSIDE]


def test_a_bridge_that_goes_and_comes_back(engine: Place) -> None:
    """It is the administrator's: what stands on it waits, and the rest of the host is looked after."""
    engine.host.run(["ip", "link", "add", "theirs", "up", "type", "bridge"])
    engine.host.run(["ip", "address", "add", "192.168.8.1/24", "dev", "theirs"])
    engine.run("--name", "one", "--net", "none", "web")
    engine.run("--name", "other", "web")
    engine.linkspan("pipework", "theirs", "one", "192.168.8.2/24")
    assert answers(engine.here, "192.168.8.2", 80) == "192.168.8.1"
    engine.host.run(["ip", "link", "del", "theirs"])
    engine.restart(signal.SIGKILL)
    until(lambda: "interface theirs of this host is not there" in engine.log.read_text())
    assert answers(engine.here, engine.address("other"), 80)
    engine.host.run(["ip", "link", "add", "theirs", "up", "type", "bridge"])
    engine.host.run(["ip", "address", "add", "192.168.8.1/24", "dev", "theirs"])
    assert answers(engine.here, "192.168.8.2", 80, within=15) == "192.168.8.1"
    engine.docker("rm", "-f", "one")
    engine.run("--name", "late", "--net", "none", "web")
    engine.linkspan("pipework", "theirs", "late", "192.168.8.3/24")
    engine.docker("stop", "late")
    engine.host.run(["ip", "link", "del", "theirs"])
    refused = engine.docker("start", "late", status=1).err
    assert "on bridge theirs: no such device" in refused and engine.inspect("late")["State"]["Status"] == "exited"


def test_beside_networks_the_gateway_is_replaced_and_comes_back(engine: Place) -> None:
    """On any container; what has no gateway leaves the default route alone."""
    engine.run("--name", "one", "web")

    def defaults() -> list[str]:
        return [f"{r['gateway']} {r['dev']}" for r in inside(engine, "one", "route") if r["dst"] == "default"]

    (usual,) = defaults()
    engine.linkspan("pipework", "br0", "one", f"{FREE}/24")
    assert defaults() == [usual] and answers(engine.there, FREE, 80) == OUTSIDE
    engine.linkspan("pipework", "br0", "-i", "out0", "one", f"10.9.9.9/32@{OUTSIDE}")
    assert defaults() == [f"{OUTSIDE} out0"]  # reached by a route of its own, as it is in no subnet of the address
    engine.docker("network", "create", "more")
    engine.docker("network", "connect", "more", "one")  # eth1 is taken
    assert {link["ifname"] for link in inside(engine, "one", "link")} == {"lo", "eth0", "eth1", "eth2", "out0"}
    engine.docker("restart", "one")
    assert defaults() == [f"{OUTSIDE} out0"]
    engine.linkspan("pipework", "--remove", "-i", "out0", "one")
    assert [way.split()[1] for way in defaults()] == ["eth0"]
    engine.linkspan("pipework", "--remove", "one")
    assert (
        given(engine, "one") == [] and {"eth1", "out0"} & {i["ifname"] for i in inside(engine, "one", "link")} == set()
    )


def test_a_bridge_is_made_and_shared_and_goes_with_the_last(engine: Place) -> None:
    for number in (1, 2):
        engine.run("--name", f"c{number}", "--net", "none", "web")
        engine.linkspan("pipework", "br7", "-l", f"end{number}", f"c{number}", f"192.168.7.{number}/24")
    (bridge,) = engine.ip("link", "show", "br7")
    assert "UP" in bridge["flags"] and sorted(
        link["ifname"] for link in engine.ip("link") if link.get("master") == "br7"
    ) == ["end1", "end2"]
    assert answers(engine.sandbox("c1"), "192.168.7.2", 80) == "192.168.7.1"
    engine.host.run(["ip", "address", "add", "192.168.7.254/24", "dev", "br7"])  # the host's way in, as pipework has it
    assert answers(engine.here, "192.168.7.2", 80) == "192.168.7.254"
    engine.docker("stop", "c1", "c2")
    assert engine.ip("address", "show", "br7")[0]["addr_info"]  # containers that are there want it
    engine.docker("start", "c1", "c2")
    assert answers(engine.here, "192.168.7.1", 80) == "192.168.7.254"
    engine.host.run(["ip", "link", "del", "br7"])
    until(lambda: not silent(engine.sandbox("c1"), "192.168.7.2", 80))
    engine.docker("rm", "-f", "c1")
    assert engine.ip("link", "show", "br7")
    engine.docker("rm", "-f", "c2")
    assert "br7" not in {link["ifname"] for link in engine.ip("link")}


def test_a_network_card_gets_a_macvlan(engine: Place) -> None:
    engine.run("--name", "one", "--net", "none", "web")
    (card,) = engine.ip("link", "show", "eth1")
    engine.linkspan("pipework", f"mac:{card['address']}", "-i", "net0", "one", f"10.99.0.5/24@{WIRED}", "U:one")
    (net0,) = inside(engine, "one", "-d", "address", "show", "net0")
    assert net0["linkinfo"]["info_kind"] == "macvlan" and net0["linkinfo"]["info_data"]["mode"] == "bridge"
    assert net0["address"] == "02:" + hashlib.md5(b"one\n").digest()[:5].hex(":")
    assert answers(engine.there, "10.99.0.5", 80) == WIRED
    assert (given(engine, "one")[0]["HostInterface"], net0["addr_info"][0]["local"]) == ("eth1", "10.99.0.5")
    for hand in ("del net0", "set net0 down"):  # inside, where the host hears nothing of it
        engine.host.run([*entering(engine, "one"), "ip", "link", *hand.split()])
        assert answers(engine.there, "10.99.0.5", 80, within=15) == WIRED
    assert [r["dev"] for r in inside(engine, "one", "route") if r["dst"] == "default"] == ["net0"]
    refused = engine.linkspan("pipework", "eth1", "one", "10.99.0.6/24", "@10", status=1).err
    assert "802.1Q VLAN" in refused and "the running kernel lacks" in refused
    assert len(given(engine, "one")) == 1


def test_a_network_card_moves_in_and_comes_home(engine: Place) -> None:
    engine.run("--name", "one", "--net", "none", "web")
    (card,) = engine.ip("link", "show", "eth1")
    engine.linkspan("pipework", "--direct-phys", "eth1", "-i", "wan", "one", "10.99.0.5/24", "02:00:00:00:00:99")

    def on_the_host() -> list[str]:
        return [f"{link['ifname']} {link['address']}" for link in engine.ip("link") if link["ifname"] == "eth1"]

    (wan,) = inside(engine, "one", "address", "show", "wan")
    assert on_the_host() == [] and wan["address"] == "02:00:00:00:00:99" and "UP" in wan["flags"]
    assert wan["addr_info"][0]["local"] == "10.99.0.5" and answers(engine.there, "10.99.0.5", 80) == WIRED
    engine.restart(signal.SIGKILL)
    assert on_the_host() == [] and inside(engine, "one", "address", "show", "wan")[0]["addr_info"]
    engine.docker("stop", "one")
    assert on_the_host() == [f"eth1 {card['address']}"]
    engine.docker("start", "one")
    assert on_the_host() == []
    engine.docker("rm", "-f", "one")
    assert on_the_host() == [f"eth1 {card['address']}"]


def test_routes_rules_and_queues_of_a_container(engine: Place) -> None:
    engine.run("--name", "one", "--net", "none", "web")
    engine.linkspan("pipework", "br0", "one", f"{FREE}/24")
    engine.linkspan("pipework", "route", "one", "add", "10.77.0.0/16", "via", OUTSIDE, "dev", "eth1")
    assert "10.77.0.0/16" in engine.linkspan("pipework", "route", "one").out
    engine.linkspan("pipework", "rule", "one", "add", "from", FREE, "table", "7")
    assert f"from {FREE} lookup 7" in engine.linkspan("pipework", "rule", "one").out
    engine.linkspan(
        "pipework",
        "tc",
        "one",
        "qdisc",
        "add",
        "dev",
        "eth1",
        "root",
        "tbf",
        *["rate", "1mbit", "burst", "10kb", "latency", "50ms"],
    )
    assert "tbf" in engine.linkspan("pipework", "tc", "one", "qdisc", "show").out
    failed = engine.linkspan("pipework", "route", "one", "add", "10.78.0.0/16", "via", "10.66.66.66", status=None)
    assert failed.status == 2 and failed.err  # ip's own status and words


def test_bad_input_changes_nothing(engine: Place) -> None:
    engine.run("--name", "one", "--net", "none", "web")
    engine.run("--name", "hosted", "--net", "host", "web")
    engine.linkspan("pipework", "br0", "one", f"{FREE}/24")
    (before,) = given(engine, "one")
    for words, said in (
        (("br0", "one", "10.1.1.1"), "10.1.1.1/24"),
        (("br0", "one", "10.1.1.1/24"), "interface eth1 exists already in container one"),
        (("br0", "-i", "eth2", "one", f"{FREE}/24"), "Address already in use"),
        (("br0", "-i", "eth2", "one", f"{HOST}/24"), "the host's own address"),
        (("br0", "-i", "eth2", "one", "10.1.1.1/24", "@7"), "has no VLANs"),
        (("br0", "-i", "eth2", "-l", "eth0", "one", "10.1.1.1/24"), "eth0 exists already on the host"),
        (("br0", "-i", "much-too-long-name", "one", "10.1.1.1/24"), "at most 15 characters"),
        (("br0", "-i", "eth2", "-a", "6", "one", "10.1.1.1/24"), "asks for IPv6"),
        (("br0", "-i", "eth2", "one", "10.1.1.1/24", "zz:zz"), "invalid MAC address"),
        (("eth0", "-i", "eth2", "one", "10.1.1.1/24"), "use the bridge"),
        (("lo", "-i", "eth2", "one", "10.1.1.1/24"), "invalid host interface"),
        (("eth9", "-i", "eth2", "one", "10.1.1.1/24"), "there is no interface eth9"),
        (("mac:02:00:00:00:00:01", "-i", "eth2", "one", "10.1.1.1/24"), "02:00:00:00:00:01"),
        (("ovs7", "-i", "eth2", "one", "10.1.1.1/24"), "Open vSwitch"),
        (("dummy0", "-i", "eth2", "one", "10.1.1.1/24"), "the running kernel lacks dummy links"),
        (("--direct-phys", "br0", "-i", "eth2", "one", "10.1.1.1/24"), "br0 is none"),
        (("br0", "hosted", "10.1.1.1/24"), "uses the host's"),
        (("br0", "nobody", "10.1.1.1/24"), "No such container: nobody"),
        (("--remove", "-i", "eth2", "one"), "no interface eth2"),
        (("route", "hosted"), "uses the host's"),
    ):
        assert said in engine.linkspan("pipework", *words, status=1).err, words
    assert given(engine, "one") == [before]
    os.kill(engine.pid, signal.SIGHUP)
    assert answers(engine.there, FREE, 80) == OUTSIDE


@pytest.fixture
def server(engine: Place) -> Iterator[Callable[[], list[str]]]:
    """A DHCP server in the host outside, and the addresses that it gave so far."""
    folder = engine.folder / "dhcp"
    folder.mkdir()
    (folder / "leases").touch()
    (folder / "conf").write_text(
        f"interface eth0\nstart 10.211.55.200\nend 10.211.55.209\noption subnet 255.255.255.0\n"
        f"option router {OUTSIDE}\noption lease 600\nlease_file {folder}/leases\npidfile {folder}/pid\n"
    )
    process = engine.outside.start(["busybox", "udhcpd", "-f", str(folder / "conf")], log=folder / "log")
    until(lambda: "started" in (folder / "log").read_text())
    yield lambda: re.findall(r"sending ACK to (\S+)", (folder / "log").read_text())
    engine.outside.run(["kill", (folder / "pid").read_text().strip()])
    process.wait(10)
    shutil.rmtree(folder)


@pytest.mark.parametrize(
    ("client", "stays"),
    [("udhcpc", False), ("dhclient", False), ("udhcpc-f", True), ("dhclient-f", True), ("dhcpcd", True)],
)
def test_dhcp(engine: Place, server: Callable[[], list[str]], client: str, stays: bool) -> None:
    """By every client; one that stays ends with the container, which the check for what is left sees."""
    engine.run("--name", "one", "--net", "none", "web")
    told = engine.linkspan("pipework", "br0", "one", client).out.strip()
    address = told.removesuffix("/24")
    assert server()[-1] == address and answers(engine.there, address, 80) == OUTSIDE
    (link,) = given(engine, "one")
    assert (link["Address"], link["Gateway"], link["Dhcp"]["Stays"]) == (told, OUTSIDE, stays)
    assert [r["gateway"] for r in inside(engine, "one", "route") if r["dst"] == "default"] == [OUTSIDE]
    until(lambda: len(list((engine.data_root / "dhcp").iterdir())) == stays)


@pytest.mark.parametrize("client", ["udhcpc", "dhcp"])
def test_what_dhcp_gave_survives(engine: Place, server: Callable[[], list[str]], client: str) -> None:
    """The daemon's end, and the interface's; when the container starts again, DHCP is asked again."""
    engine.run("--name", "one", "--net", "none", "web")
    address = engine.linkspan("pipework", "br0", "one", client).out.strip().removesuffix("/24")
    (link,) = given(engine, "one")
    engine.restart(signal.SIGKILL)
    assert given(engine, "one") == [link] and answers(engine.there, address, 80) == OUTSIDE
    engine.host.run(["ip", "link", "del", link["HostEnd"]])
    assert answers(engine.there, address, 80, within=15) == OUTSIDE
    asked = len(server())
    engine.docker("restart", "one")
    until(lambda: len(server()) > asked and bool(given(engine, "one")[0]["Address"]), within=15)
    assert answers(engine.there, given(engine, "one")[0]["Address"].removesuffix("/24"), 80) == OUTSIDE


def test_dhcp_that_nobody_answers(engine: Place) -> None:
    engine.run("--name", "one", "--net", "none", "web")
    refused = engine.linkspan("pipework", "br0", "one", "udhcpc:-t 1 -T 1", status=1).err
    assert "DHCP has given no address" in refused and "no lease, failing" in refused
    assert "DHCP options" in engine.linkspan("pipework", "br0", "one", "udhcpc:-x 'open", status=1).err
    assert given(engine, "one") == [] and [i["ifname"] for i in inside(engine, "one", "link")] == ["lo"]
