"""2. Published ports in every form: what `docker port` prints is what answers, on that address only."""

import re

from demo.section1_reached import STARTING
from demo.stage import HOST_ADDRESS, OUTSIDE_ADDRESS, Stage
from demo.step import Check, Hopeless, Output, Section, Step, prints_an_id, published, require, succeeded

_RANGE = range(8000, 8011)


def _run(name: str, publish: str) -> Step:
    command = f"docker run -d --name {name} {publish} -e POSTGRES_PASSWORD=123456 postgres"
    return Step(command, "the id", prints_an_id)


def _answers(
    wanted: str, *, outside: bool = True, loopback: bool = True, address: str = HOST_ADDRESS, chosen: bool = False
) -> Check:
    """A check of `docker port NAME 5432`: one IPv4 address and port, matching `wanted`, where PostgreSQL answers
    exactly there. `chosen` says that the engine has chosen the port, from the host's ephemeral range."""

    def check(stage: Stage, output: Output) -> str:
        if output.status:  # a binding is there before the server behind it answers, or never
            raise Hopeless(output.both)
        lines = [line for line in published(output) if not line.startswith("[")]
        require(len(lines) == 1 and re.fullmatch(wanted, lines[0]) is not None, output.both)
        port = int(lines[0].rpartition(":")[2])
        if chosen:
            low, high = map(int, stage.output("cat /proc/sys/net/ipv4/ip_local_port_range").split())
            require(low <= port <= high, f"{port} is not in the ephemeral range {low}-{high}")
        near = stage.psql(address, port)
        require(near is not None, f"no answer on the host on {address}:{port}")
        far = stage.psql(HOST_ADDRESS, port, where="outside")
        require(far == (OUTSIDE_ADDRESS if outside else None), f"outside, {HOST_ADDRESS}:{port}: {far or 'no answer'}")
        local = stage.psql("127.0.0.1", port)
        require((local is not None) == loopback, f"on the host, 127.0.0.1:{port}: {local or 'no answer'}")
        return f"{lines[0]}: answers on {address}; outside {_yes(outside)}; on 127.0.0.1 {_yes(loopback)}"

    return check


def _range(stage: Stage, output: Output) -> str:
    succeeded(output)
    lines = {line for line in published(output) if "[" not in line}
    wanted = {f"{port}/udp -> 0.0.0.0:{port}" for port in _RANGE}
    require(lines == wanted, output.both)
    for port in _RANGE:
        answer = stage.ask(HOST_ADDRESS, port, where="outside", protocol="udp")
        seen = f"port {port} you are {OUTSIDE_ADDRESS}"
        require(answer.out.strip().endswith(seen), f"{port}/udp outside: {answer.both}")
    require(stage.ask(HOST_ADDRESS, 8000, where="outside").status != 0, "8000/tcp answers outside, too")
    return "each of the 11 UDP ports answers outside and sees the client's address; 8000/tcp does not answer"


def _yes(answers: bool) -> str:
    return "yes" if answers else "no"


def _form(name: str, publish: str, expect: str, check: Check) -> tuple[Step, Step]:
    return (
        _run(name, publish),
        Step(f"docker port {name} 5432", expect, check, within=STARTING),
    )


def _remove(name: str) -> Step:
    return Step(f"docker rm -f -v {name}", "the name: its port is free again", _removed(name))


def _removed(name: str) -> Check:
    def check(stage: Stage, output: Output) -> str:
        succeeded(output)
        require(output.out.strip() == name, output.both)
        return name

    return check


def _taken(stage: Stage, output: Output) -> str:
    require(output.status == 125, f"status {output.status}: {output.both}")
    require("port is already allocated" in output.both, output.both)
    state = stage.inspect("second")["State"]["Status"]
    require(state == "created", f"second is {state}")
    stage.output("docker rm -f second")
    return next(line for line in output.both.splitlines() if "already allocated" in line)


SECTION = Section(
    2,
    "Published ports, in every form",
    (
        *_form("plain", "-p 54321:5432", "0.0.0.0:54321, on every address", _answers(r"0\.0\.0\.0:54321")),
        Step(
            "docker run -d --name second -p 54321:5432 -e POSTGRES_PASSWORD=123456 postgres",
            "refused: the port is taken, in Docker's words; nothing of it is left but the created container",
            _taken,
        ),
        _remove("plain"),
        *_form(
            "address",
            f"-p {HOST_ADDRESS}:54321:5432",
            f"{HOST_ADDRESS}:54321, and not on 127.0.0.1",
            _answers(rf"{re.escape(HOST_ADDRESS)}:54321", loopback=False),
        ),
        *_form(
            "any_of_address",
            f"-p {HOST_ADDRESS}::5432",
            f"a free port on {HOST_ADDRESS}",
            _answers(rf"{re.escape(HOST_ADDRESS)}:\d+", loopback=False, chosen=True),
        ),
        *_form("any", "-p 5432", "a free port on every address", _answers(r"0\.0\.0\.0:\d+", chosen=True)),
        *_form("all", "-P", "a free port for the one that the image exposes", _answers(r"0\.0\.0\.0:\d+", chosen=True)),
        *_form(
            "local",
            "-p 127.0.0.1:54322:5432",
            "127.0.0.1:54322, unreachable from outside",
            _answers(r"127\.0\.0\.1:54322", outside=False, address="127.0.0.1"),
        ),
        Step(
            "docker run -d --name range -p 8000-8010:8000-8010/udp -v $D/bin/answer:/usr/bin/answer"
            " postgres perl /usr/bin/answer 8000 8001 8002 8003 8004 8005 8006 8007 8008 8009 8010",
            "the id",
            prints_an_id,
        ),
        Step("docker port range", "8000/udp to 8010/udp, each on its own number", _range, within=10),
    ),
)
