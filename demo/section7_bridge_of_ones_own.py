"""7. Another bridge: `-b br0`, which exists and holds the host's interface."""

import shutil

from demo.section1_reached import MOUNTS, STARTING
from demo.settings import entry, four, settings
from demo.stage import HOST_ADDRESS, OUTSIDE_ADDRESS, Stage
from demo.step import Output, Section, Step, prints_an_id, prints_exactly, require, succeeded, works


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


SECTION = Section(
    7,
    "A bridge of one's own: -b br0",
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
    ),
    before=_before,
    after=_after,
)
