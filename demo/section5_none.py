"""5. None: sandboxes with nothing but `lo`, and an interface given by hand."""

from demo.section1_reached import MOUNTS, STARTING
from demo.settings import on_special
from demo.stage import Stage
from demo.step import Check, Output, Section, Step, prints_an_id, prints_exactly, require, succeeded, works

_PID = "$(docker inspect -f '{{.State.Pid}}' mysql)"


def _only_lo(container: str) -> Check:
    def check(stage: Stage, output: Output) -> str:
        succeeded(output)
        links = [link["ifname"] for link in stage.links(container)]
        require(links == ["lo"], links)
        return "only lo"

    return check


def _no_ports(stage: Stage, output: Output) -> str:
    succeeded(output)
    require(output.out.strip() == "", output.both)
    for port in (3306, 5432):
        answer = stage.ask("10.211.55.4", port, where="outside")
        require(answer.status != 0, f"{port} answers outside: {answer.both}")
    return "nothing is published; nothing answers outside"


SECTION = Section(
    5,
    "None",
    (
        Step(
            f"docker run --net=none --name mysql -p 3306:3306 -p 5432:5432 {MOUNTS} -d mysql",
            "the id",
            prints_an_id,
            vital=True,
        ),
        Step(
            "docker run --net=none --name postgres1 -e POSTGRES_PASSWORD=123456 -d postgres",
            "the id",
            prints_an_id,
            vital=True,
        ),
        Step("docker exec mysql cat /proc/net/dev", "only lo", _only_lo("mysql")),
        Step("docker exec postgres1 cat /proc/net/dev", "only lo", _only_lo("postgres1")),
        Step("docker port mysql", "nothing", _no_ports),
        Step(
            "docker inspect mysql",
            "SandboxKey set, Ports {}, Networks.none",
            on_special("mysql", "none", "/netns/{sandbox}"),
        ),
        Step(
            "docker inspect postgres1",
            "the same for postgres",
            on_special("postgres1", "none", "/netns/{sandbox}"),
        ),
        Step(
            f"ip link add byhand type veth peer name eth1 netns {_PID}"
            " && ip addr add 192.168.77.1/24 dev byhand && ip link set byhand up"
            f" && nsenter --target={_PID} --net -- sh -c 'ip addr add 192.168.77.2/24 dev eth1; ip link set eth1 up'",
            "an interface can be given by hand",
            works,
        ),
        Step(
            "mysql -h 192.168.77.2 -uroot -p123456 -Ne 'SELECT USER()'",
            "mysql answers on it",
            prints_exactly("root@192.168.77.1"),
            within=STARTING,
        ),
    ),
)
