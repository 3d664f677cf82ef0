"""The flat network, the talk's own practice: a container's address is a first-class address of the data centre."""

from demo.cluster.spanning import CLIENT, SERVER, address, asks, made, section
from demo.seat import REGISTRY
from demo.section1_reached import STARTING, mysql
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

_SEGMENT = f"-o parent=eth0 --subnet 10.211.55.0/24 --gateway {OUTSIDE_ADDRESS} --ip-range 10.211.55.64/26"
# The image is pulled where it moves to: each host has a registry of that name.
_MOVER = f"docker run -d --name mover --net=city {REGISTRY}/busybox sleep 1000000"
_TAKE = "ip addr add 10.211.55.120/24 dev eth0"
_CREATE = f"docker network create -d flat -o mode=bridge {_SEGMENT} city"


def _seen(stage: Stage, output: Output) -> str:
    """A machine that runs none of our software comes to the container by its address, and is seen as itself."""
    succeeded(output)
    there = stage.remembered["mysql"]
    user = stage.output(mysql("SELECT USER()", there), "outside")
    require(user == f"root@{OUTSIDE_ADDRESS}", user)
    return f"{there}:3306 answers, and sees {user}"


def _remembered(stage: Stage, output: Output) -> str:
    succeeded(output)
    there = stage.remembered["mysql"] = address(stage, "mysql", "h1")
    require(there.startswith("10.211.55."), there)
    return there


def _sees(stage: Stage, output: Output) -> str:
    succeeded(output)
    there = stage.remembered["mysql"]
    require(output.out.strip() == f"you are {there}", output.both)
    return f"outside is told: {output.out.strip()}"


def _no_rows(stage: Stage, output: Output) -> str:
    succeeded(output)
    there = stage.remembered["mysql"]
    require(there not in output.out, output.out)
    return f"no row about {there}"


def _mover(where: str) -> Check:
    """The address of the container that moves: remembered where it starts from, and the same where it comes to."""

    def check(stage: Stage, output: Output) -> str:
        succeeded(output)
        there = address(stage, "mover", where)
        if where == "h1":
            stage.remembered["mover"] = there
        require(there == stage.remembered["mover"], there)
        return f"{where}: {there}"

    return check


def _sees_mover(stage: Stage, output: Output) -> str:
    succeeded(output)
    require(output.out.strip() == f"you are {stage.remembered['mover']}", output.both)
    return f"outside is told: {output.out.strip()}"


def _same(where: str) -> Check:
    """It has the address that it had, and the machine outside comes to it."""

    def check(stage: Stage, output: Output) -> str:
        succeeded(output)
        there = address(stage, "mysql", where)
        require(there == stage.remembered["mysql"], there)
        return f"{where}: {there}; " + _seen(stage, output)

    return check


_OUTSIDE = Section(
    0,
    "flat, with a machine outside",
    (
        Step(_CREATE, "the network's id", made, where="h1", vital=True),
        Step(SERVER, "MySQL runs on h1: the container's id", prints_an_id, where="h1", vital=True),
        Step("docker inspect mysql", "an address of the hosts' own segment", _remembered, where="h1", vital=True),
        Step("docker port mysql", "nothing is published", prints_exactly(""), where="h1"),
        Step(
            "docker ps",
            "a machine that runs none of our software reaches it by its address",
            _seen,
            where="h1",
            within=STARTING,
            vital=True,
            claim="reached from outside",
        ),
        Step(
            f"docker exec mysql bash -c 'cat </dev/tcp/{OUTSIDE_ADDRESS}/9000'",
            "and is reached by it, which sees the container's own address",
            _sees,
            where="h1",
            claim="reaches outside",
        ),
        Step("linkspan nat", "there is no NAT on the way", _no_rows, where="h1"),
        Step(CLIENT, "a client on h2", prints_an_id, where="h2"),
        Step(asks("SELECT 1"), "by name, from h2", prints_exactly("1"), where="h2", claim="by name"),
        Step("docker restart mysql", "the name", prints_exactly("mysql"), where="h1"),
        Step(
            "docker inspect mysql",
            "the same address after a restart",
            _same("h1"),
            where="h1",
            within=STARTING,
            claim="keeps its address",
        ),
        Step("docker rm -f -v mysql", "the name", prints_exactly("mysql"), where="h1"),
        Step(SERVER, "made anew under its name: another id", prints_an_id, where="h1"),
        Step(
            "docker inspect mysql",
            "the same address after it was made anew",
            _same("h1"),
            where="h1",
            within=STARTING,
            claim="made anew",
        ),
        Step("docker rm -f -v mysql", "the name", prints_exactly("mysql"), where="h1"),
        Step(_MOVER, "another one on h1, without data of its own", prints(r"^[0-9a-f]{64}$"), where="h1"),
        Step("docker inspect mover", "its address", _mover("h1"), where="h1"),
        Step("docker stop -t 0 mover", "it is stopped", prints_exactly("mover"), where="h1"),
        Step("linkspan move mover h2", "and moved to h2", prints_exactly("mover"), where="h1", vital=True),
        Step("docker start mover", "where it starts", prints_exactly("mover"), where="h2", within=10),
        Step("docker inspect mover", "with the address that it had", _mover("h2"), where="h2", claim="moved"),
        Step(
            f"docker exec mover nc {OUTSIDE_ADDRESS} 9000",
            "which the machine outside sees",
            _sees_mover,
            where="h2",
        ),
        Step("docker ps -aq -f name=mover", "and which h1 knows no more", prints_exactly(""), where="h1"),
        Step(_TAKE, "a machine outside takes an address of the range", works, where="outside"),
        Step(
            "docker run --rm --net=city --ip 10.211.55.120 --entrypoint true mysql",
            "no container gets it",
            fails_with("10.211.55.120"),
            where="h3",
            claim="not an address of others",
        ),
        Step("ip addr del 10.211.55.120/24 dev eth0", "it gives it back", works, where="outside"),
        Step("docker rm -f -v client", "the name", works, where="h2"),
    ),
)
SECTIONS = (
    *(
        section("flat", f"-o mode={mode} {_SEGMENT}", title=f"flat, mode={mode}", apart=False)
        for mode in ("bridge", "macvlan", "routed")
    ),
    _OUTSIDE,
)
