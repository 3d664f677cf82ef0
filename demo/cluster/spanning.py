"""What every driver has to show: MySQL on one host, its clients on others, by name, without a published port."""

import json
import re
from collections.abc import Callable, Sequence

from demo.cluster.stage import ADDRESSES
from demo.section1_reached import STARTING
from demo.stage import Stage
from demo.step import (
    Check,
    Output,
    Section,
    Step,
    Unsupported,
    fails_with,
    prints,
    prints_an_id,
    prints_exactly,
    require,
    shortened,
    succeeded,
    works,
)

SERVER = "docker run -d --name mysql --net=city -e MYSQL_ROOT_PASSWORD=123456 mysql"
# The client is the same image, so that every host has it already.
CLIENT = "docker run -d --name client --net=city --entrypoint sleep mysql 1000000"
# Rows of a million letters do not fit any packet: whoever gets the size of packets wrong is found out.
LONG = 1_000_000
# MySQL is for the client alone. (The same in a file: docs/guide/policy.md.)
POLICY = (
    "echo '{apiVersion: projectcalico.org/v3, kind: NetworkPolicy, metadata: {name: bikes, namespace: city}, spec: "
    '{selector: projectcalico.org/name == "mysql", ingress: [{action: Allow, protocol: TCP, '
    'source: {selector: projectcalico.org/name == "client"}, destination: {ports: [3306]}}]}}\' '
    "| linkspan policy apply -f -"
)
_STRANGER = (
    "docker run --rm --net=city --entrypoint mysql mysql --connect-timeout=2 -h mysql -uroot -p123456 "
    "-e 'SELECT name FROM city.bikes'"
)
_COUNTED = " | tr -d '\\t\\n' | wc -c"
# What a driver says that needs what this kernel or machine lacks.
_LACKING = re.compile(r"(?i)(kernel|machine|host) (has no|lacks|does not|cannot)|not (supported|installed)")


def asks(sql: str, server: str = "mysql") -> str:
    """A line of shell: the client's container asks a server, by whatever name or address."""
    return f'docker exec client mysql --connect-timeout=2 -h {server} -uroot -p123456 -Ne "{sql}"'


def made(stage: Stage, output: Output) -> str:
    """The network is there; where the driver says that it needs what is not here, the section is left out."""
    if output.status and _LACKING.search(output.both):
        raise Unsupported(shortened(output.both))
    return prints_an_id(stage, output)


def everywhere(driver: str) -> Check:
    """Every host lists the network, with its driver and scope."""

    def check(stage: Stage, output: Output) -> str:
        succeeded(output)
        for where in ADDRESSES:
            listed = stage.output("docker network ls --format '{{.Name}} {{.Driver}} {{.Scope}}'", where)
            require(f"city {driver} global" in listed.splitlines(), f"{where}: {listed}")
        return f"city {driver} global on {', '.join(ADDRESSES)}"

    return check


def address(stage: Stage, container: str, where: str) -> str:
    """A container's address on the network."""
    return str(stage.inspect(container, where)["NetworkSettings"]["Networks"]["city"]["IPAddress"])


def _seen_as_itself(stage: Stage, output: Output) -> str:
    """The server sees the client's own address, or the name that it has by it."""
    succeeded(output)
    own = address(stage, "client", "h2")
    require(output.out.strip() in (f"root@{own}", "root@client.city"), output.both)
    return f"{output.out.strip()} ({own})"


def _by_address(stage: Stage, output: Output) -> str:
    succeeded(output)
    there = address(stage, "mysql", "h1")
    stage.remembered["mysql"] = there
    require(stage.output(asks("SELECT 1", there), "h2") == "1", there)
    return there


def _peers(stage: Stage, output: Output) -> str:
    succeeded(output)
    (network,) = json.loads(output.out)
    found = {one["Name"]: one["IPv4Address"] for one in network["Containers"].values()}
    require(set(found) == {"mysql", "client"}, found)
    peers = {peer["IP"] for peer in network.get("Peers", ())}
    hosts = {host["Name"]: host["Address"] for host in json.loads(stage.output("linkspan host ls --json", "h3"))}
    require(peers >= {hosts["h1"], hosts["h2"]}, network.get("Peers"))
    return ", ".join(f"{name} {where}" for name, where in sorted(found.items())) + f"; peers {', '.join(sorted(peers))}"


def _unreached(stage: Stage, output: Output) -> str:
    """A container that is not on the network does not come to the server's address."""
    succeeded(output)
    there = stage.remembered["mysql"]
    typed = f"docker run --rm --entrypoint mysql mysql --connect-timeout=2 -h {there} -uroot -p123456 -e 'SELECT 1'"
    seen = fails_with("timed out|timeout|refused|Can't connect|unreachable|[Nn]o route")(stage, stage.type(typed, "h2"))
    return seen.splitlines()[-1]


def _gone(stage: Stage, output: Output) -> str:
    succeeded(output)
    for where in ADDRESSES:
        names = stage.output("docker network ls --format '{{.Name}}'", where).split()
        require("city" not in names, f"{where}: {names}")
    return f"no host of {', '.join(ADDRESSES)} has it"


def section(
    driver: str,
    *options: str,
    title: str = "",
    apart: bool = True,
    before: Callable[[Stage], None] | None = None,
    more: Sequence[Step] = (),
) -> Section:
    """The driver's section, which gets its number in its place. With `apart`, whoever is not on the network does not
    reach it. `more` are steps of its own, while the server and its client on h2 are there."""
    create = " ".join(("docker network create -d", driver, *options, "city"))
    stranger = Step(
        "docker network ls -q",
        "a container that is not on the network does not reach it",
        _unreached,
        where="h2",
        claim="kept apart",
    )
    return Section(
        0,
        title or driver,
        (
            Step(create, "the network's id", made, where="h1", vital=True),
            Step("docker network ls", "every host has it, with scope global", everywhere(driver), where="h3", within=5),
            Step(SERVER, "MySQL runs on h1: the container's id", prints_an_id, where="h1", vital=True),
            Step(CLIENT, "its client on h2", prints_an_id, where="h2", vital=True),
            Step(
                asks("SELECT USER()"),
                "by name, from h2; the server sees the client's own address",
                _seen_as_itself,
                where="h2",
                within=STARTING,
                vital=True,
                claim="by name",
            ),
            Step("docker inspect client", "by address", _by_address, where="h2", claim="by address"),
            Step(
                asks(
                    "CREATE DATABASE city; CREATE TABLE city.bikes (name TEXT); INSERT INTO city.bikes VALUES "
                    "('orange')"
                ),
                "a table is written from h2",
                works,
                where="h2",
            ),
            Step(
                "docker run --rm --net=city --entrypoint mysql mysql -h mysql -uroot -p123456 -Ne "
                "'SELECT name FROM city.bikes'",
                "and read from h3",
                prints_exactly("orange"),
                where="h3",
                claim="from a third host",
            ),
            Step(
                asks(f"SELECT LENGTH('$(printf %0{LONG // 10}d 0)'), REPEAT('x', {LONG})")
                + " | tr -d '\\t\\n' | wc -c",
                "packets of full size, there and back",
                prints_exactly(str(LONG + len(str(LONG // 10)))),
                where="h2",
                claim="full-sized packets",
            ),
            Step(
                "docker network inspect city",
                "both containers with their addresses, and the hosts that have them",
                _peers,
                where="h3",
                claim="seen everywhere",
            ),
            Step(POLICY, "a policy, for all hosts: MySQL is for the client alone", prints("created"), where="h3"),
            Step(
                "linkspan policy check client mysql:3306",
                "allow, and by which rule",
                prints("^allow", "bikes, ingress rule 1"),
                where="h1",
                within=5,
            ),
            Step(
                asks("SELECT name FROM city.bikes"),
                "the client is answered",
                prints_exactly("orange"),
                where="h2",
                within=5,
            ),
            Step(
                _STRANGER,
                "another one on the network is cut off",
                fails_with("timed out|timeout|Can't connect"),
                where="h3",
                claim="cut off by policy",
            ),
            Step("linkspan policy delete np bikes -n city", "the policy goes", prints("deleted"), where="h2"),
            Step("docker port mysql", "nothing is published", prints_exactly(""), where="h1"),
            *((stranger,) if apart else ()),
            *more,
            Step("docker restart mysql", "the name", prints_exactly("mysql"), where="h1"),
            Step(
                asks("SELECT name FROM city.bikes"),
                "the row is there after a restart of the server",
                prints_exactly("orange"),
                where="h2",
                within=STARTING,
                claim="after a restart",
            ),
            Step("docker rm -f -v client", "the name", prints("client"), where="h2"),
            Step("docker rm -f -v mysql", "the name", prints("mysql"), where="h1"),
            Step(
                "docker network rm city",
                "removed on h3, and with that everywhere",
                _gone,
                where="h3",
                within=5,
                claim="cleared away",
            ),
        ),
        before=before,
    )


SECTIONS = (
    section("overlay"),
    section("ovs", "--subnet 10.77.0.0/24", title="ovs, GRE"),
    section(
        "flannel", "--subnet 10.95.0.0/16 -o flannel.prefix=/flannel/vxlan -o flannel.vni=5", title="flannel, vxlan"
    ),
    section(
        "flannel",
        "--subnet 10.96.0.0/16 -o flannel.prefix=/flannel/gw -o flannel.backend=host-gw",
        title="flannel, host-gw",
    ),
    section("macvlan", "--scope global -o parent=eth0 --subnet 10.90.0.0/24"),
    *(
        section("calico", f"--subnet 10.78.0.0/16 -o encapsulation={how}", title=f"calico, {how}", apart=False)
        for how in ("never", "vxlan")
    ),
)
