"""6. User-defined networks: names, isolation, and a container connected live to both."""

import json

from demo.section1_reached import STARTING
from demo.stage import OUTSIDE_ADDRESS, Stage
from demo.step import (
    Check,
    Output,
    Section,
    Step,
    fails_with,
    prints,
    prints_an_id,
    prints_exactly,
    require,
    succeeded,
    works,
)

_FRONT = "10.81.0"


def _run(name: str, network: str, *options: str) -> Step:
    words = " ".join(("docker run", f"--net={network}", f"--name {name}", *options))
    return Step(f"{words} -e POSTGRES_PASSWORD=123456 -d postgres", "the id", prints_an_id, vital=True)


def _asks(client: str, name: str) -> str:
    """A query from one container to the server in another, by whatever name or address."""
    ask = f"docker exec -e PGPASSWORD=123456 -e PGCONNECT_TIMEOUT=2 {client} psql -U postgres -At"
    return f"{ask} -h {name} -c 'select host(inet_client_addr())'"


def _both_in_front(stage: Stage, output: Output) -> str:
    succeeded(output)
    (network,) = json.loads(output.out)
    found = {one["Name"]: one["IPv4Address"] for one in network["Containers"].values()}
    require(found == {"postgres1": f"{_FRONT}.9/24", "near": f"{_FRONT}.2/24"}, found)
    require(network["IPAM"]["Config"] == [{"Subnet": f"{_FRONT}.0/24", "Gateway": f"{_FRONT}.1"}], network["IPAM"])
    return ", ".join(f"{name} {address}" for name, address in sorted(found.items()))


def _in_both(stage: Stage, output: Output) -> str:
    succeeded(output)
    links = [link["ifname"] for link in stage.links("postgres1")]
    require(sorted(links) == ["eth0", "eth1", "lo"], links)
    hosts = stage.output("docker exec postgres1 cat /etc/hosts")
    networks = stage.inspect("postgres1")["NetworkSettings"]["Networks"]
    addresses = [networks[name]["IPAddress"] for name in ("front", "rear")]
    require(all(address in hosts for address in addresses), hosts)
    gateways = [route["gateway"] for route in stage.routes("postgres1") if route["dst"] == "default"]
    require(gateways == [f"{_FRONT}.1"], gateways)
    return f"eth0 {addresses[0]}, eth1 {addresses[1]}; default via {gateways[0]}"


def _gone(stage: Stage, output: Output) -> str:
    succeeded(output)
    left = stage.output("docker network ls --format '{{.Name}}'").split()
    require(not {"front", "rear"} & set(left), left)
    return f"left: {', '.join(sorted(left))}"


_UNKNOWN = fails_with("could not translate host name|not known|resolution")
_UNREACHED: Check = fails_with("timeout expired|refused|[Nn]o route|unreachable")

SECTION = Section(
    6,
    "User-defined networks",
    (
        Step(f"docker network create --subnet {_FRONT}.0/24 front", "the id", prints_an_id, vital=True),
        Step("docker network create rear", "the id", prints_an_id, vital=True),
        Step("docker network ls", "both, beside the three that are always there", prints("front", "rear", "none")),
        _run("near", "front"),
        _run("far", "rear", f"--dns {OUTSIDE_ADDRESS}"),  # where nobody answers: that is known at once
        _run("postgres1", "front", f"--ip {_FRONT}.9", "--network-alias db"),
        Step("docker network inspect front", "postgres1 has the address asked for, near the first", _both_in_front),
        Step(_asks("near", "postgres1"), "by name", prints_exactly(f"{_FRONT}.2"), within=STARTING),
        Step(_asks("near", "db"), "by alias", prints_exactly(f"{_FRONT}.2")),
        Step(_asks("near", "$(docker inspect -f '{{.Id}}' postgres1 | cut -c1-12)"), "by short id", works),
        Step(_asks("near", f"{_FRONT}.9"), "by address", prints_exactly(f"{_FRONT}.2")),
        Step(_asks("far", "postgres1"), "another network does not know the name", _UNKNOWN),
        Step(_asks("far", f"{_FRONT}.9"), "and does not reach the address", _UNREACHED),
        Step("docker network connect --alias store rear postgres1", "connected while it runs", _in_both),
        Step(_asks("far", "store"), "now the other network reaches it, by its alias there", works, within=5),
        Step(_asks("near", "db"), "and the first one still does", prints_exactly(f"{_FRONT}.2")),
        Step("docker network disconnect rear postgres1", "disconnected while it runs", works),
        Step(_asks("far", "store"), "and the name is gone", _UNKNOWN),
        Step("docker network rm front", "refused, as it is in use", fails_with("front has active endpoints")),
        Step("docker network rm bridge", "refused, as it always is", fails_with("pre-defined network")),
        Step("docker rm -f near far postgres1", "the containers are removed", works),
        Step("docker network prune -f", "both networks are removed", _gone),
    ),
)
