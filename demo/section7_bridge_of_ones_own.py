"""7. Another bridge: `-b br0`, which exists and holds the host's interface; and pipework."""

import shutil

from demo.section1_reached import MOUNTS, STARTING
from demo.settings import entry, four, settings
from demo.stage import HOST_ADDRESS, OUTSIDE_ADDRESS, Stage
from demo.step import Output, Section, Step, Unsupported, prints_an_id, prints_exactly, require, succeeded, works


def _before(stage: Stage) -> None:
    stage.stop_daemon()
    if stage.daemon.name == "dockerd":  # 20.10 makes docker0 once more while it forgets the network of its last run
        shutil.rmtree(stage.seats[stage.first].folder / "lib" / "network")


def _after(stage: Stage) -> None:
    stage.clear()
    stage.stop_daemon()


def _start(stage: Stage, output: Output) -> str:
    succeeded(output)
    stage.start_daemon("-b", "br0")
    links = [link["ifname"] for link in stage.links()]
    require("docker0" not in links, links)
    return "it answers; interfaces: " + ", ".join(links)


def _on_br0(stage: Stage, output: Output) -> str:
    succeeded(output)
    found = settings(stage, "mysql")
    one = entry(found, "bridge")
    require(one["IPAddress"].startswith("10.211.55.") and one["IPPrefixLen"] == 24, one["IPAddress"])
    require(one["Gateway"] == "10.211.55.1", one["Gateway"])
    links = {link["ifname"]: link for link in stage.links()}
    require("docker0" not in links, sorted(links))
    ports = [name for name, link in links.items() if link.get("master") == "br0"]
    require("eth0" in ports and len(ports) == 2, ports)
    eth0 = next(link for link in stage.links("mysql") if link["ifname"] == "eth0")
    require(four(eth0) == [f"{one['IPAddress']}/24"], four(eth0))
    stage.remembered["mysql on br0"] = one["IPAddress"]
    return f"{one['IPAddress']}/24 via 10.211.55.1; on br0: {', '.join(sorted(ports))}; no docker0"


def _directly(stage: Stage, output: Output) -> str:
    """By its own address, from a host on the same segment: no NAT either way."""
    succeeded(output)
    address = stage.remembered["mysql on br0"]
    typed = f"mysql -h {address} -uroot -p123456 -Ne 'SELECT USER()'"
    user = stage.output(typed, where="outside")
    require(user == f"root@{OUTSIDE_ADDRESS}", user)
    back = stage.output(f"docker exec mysql bash -c 'cat </dev/tcp/{OUTSIDE_ADDRESS}/9000'")
    require(back == f"you are {address}", back)
    return f"outside reaches {address}:3306 as {user}; outside is told: {back}"


def _plugged(stage: Stage, output: Output) -> str:
    """The interface is there, and recorded."""
    if stage.daemon.name == "dockerd":
        raise Unsupported("dockerd has no pipework")
    succeeded(output)
    (one,) = settings(stage, "alone")["Interfaces"]
    require((one["HostInterface"], one["Address"]) == ("br0", f"{_FREE}/24"), one)
    eth1 = next(link for link in stage.links("alone") if link["ifname"] == "eth1")
    require(four(eth1) == [f"{_FREE}/24"] and eth1["address"] == one["MacAddress"], eth1)
    way = [r["gateway"] for r in stage.routes("alone") if r["dst"] == "default"]
    require(way == ["10.211.55.1"], way)
    return f"eth1 {_FREE}/24 via 10.211.55.1, on br0 as {one['HostEnd']}; docker inspect shows it"


def _and_back(stage: Stage, output: Output) -> str:
    succeeded(output)
    back = stage.output(f"docker exec alone bash -c 'cat </dev/tcp/{OUTSIDE_ADDRESS}/9000'")
    require(back == f"you are {_FREE}", back)
    return f"{output.out.strip()}; outside is told: {back}"


def _put_back(stage: Stage, output: Output) -> str:
    succeeded(output)
    user = stage.output(_FROM_OUTSIDE, where="outside")
    require(user == f"root@{OUTSIDE_ADDRESS}", user)
    return f"it is there again: outside reaches it as {user}"


def _only_eth0(stage: Stage, output: Output) -> str:
    succeeded(output)
    ports = [link["ifname"] for link in stage.links() if link.get("master") == "br0"]
    require(ports == ["eth0"], ports)
    return "on br0: eth0"


_FREE = "10.211.55.50"
_FROM_OUTSIDE = f"mysql -h {_FREE} -uroot -p123456 -Ne 'SELECT USER()'"
_HOST_END = "$(docker inspect -f '{{(index .NetworkSettings.Interfaces 0).HostEnd}}' alone)"

SECTION = Section(
    7,
    "A bridge of one's own, and pipework",
    (
        Step(
            "ip link del docker0; ip link add br0 type bridge && ip addr add 10.211.55.1/24 dev br0"
            f" && ip addr del {HOST_ADDRESS}/24 dev eth0 && ip addr add {HOST_ADDRESS}/24 dev br0"
            " && ip link set eth0 master br0 && ip link set br0 up",
            "br0 takes the place of docker0, and holds the host's interface",
            works,
            vital=True,
        ),
        Step("ip addr show br0", "linkspand -b br0 starts, and makes no docker0", _start, vital=True),
        Step(f"docker run --name mysql -p 3306:3306 {MOUNTS} -d mysql", "the id", prints_an_id, vital=True),
        Step("docker inspect mysql", "an address of br0's subnet, 10.211.55.1 as gateway; no docker0", _on_br0),
        Step(
            f"mysql -h {HOST_ADDRESS} -uroot -p123456 -Ne 'SELECT 1'",
            "the published port answers outside",
            prints_exactly("1"),
            where="outside",
            within=STARTING,
        ),
        Step("docker ps -q", "outside and the container reach each other by their own addresses", _directly),
        Step("docker rm -f mysql", "the name", prints_exactly("mysql")),
        Step(f"docker run --net=none --name alone {MOUNTS} -d mysql", "the id", prints_an_id, vital=True),
        Step(
            f"linkspan pipework br0 alone {_FREE}/24@10.211.55.1",
            "an interface on br0, with its address and gateway, recorded",
            _plugged,
            vital=True,
        ),
        Step(_FROM_OUTSIDE, "outside reaches it directly, and back", _and_back, where="outside", within=STARTING),
        Step(
            f"ip link del {_HOST_END}",
            "removed by another hand, it is put back",
            _put_back,
        ),
        Step("docker restart alone", "it comes back with the container", prints_exactly("alone")),
        Step(
            _FROM_OUTSIDE,
            "outside reaches it at the same address",
            prints_exactly(f"root@{OUTSIDE_ADDRESS}"),
            where="outside",
            within=STARTING,
        ),
        Step(
            "docker rm -f alone && ip -br link show master br0",
            "nothing of it is left on the bridge",
            _only_eth0,
        ),
    ),
    before=_before,
    after=_after,
)
