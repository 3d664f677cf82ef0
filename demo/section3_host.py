"""3. Host: databases that listen on the host's own address."""

from demo.section1_reached import MOUNTS, STARTING, mysql
from demo.settings import on_special
from demo.stage import HOST_ADDRESS, OUTSIDE_ADDRESS, Stage
from demo.step import Check, Output, Section, Step, prints_exactly, require, succeeded


def _runs_and_warns(stage: Stage, output: Output) -> str:
    succeeded(output)
    require(len(output.out.strip()) == 64, output.both)
    require("discarded when using host network mode" in output.both, f"no warning: {output.both}")
    return output.both


def _no_interface(stage: Stage, output: Output) -> str:
    succeeded(output)
    links = {link["ifname"]: link for link in stage.links()}
    veths = [name for name in links if name.startswith("veth")]
    ports = [name for name, link in links.items() if link.get("master") == "docker0"]
    require(not veths and not ports, f"veth: {veths}; on docker0: {ports}")
    return "interfaces: " + ", ".join(sorted(links))


def _listens(port: int) -> Check:
    def check(stage: Stage, output: Output) -> str:
        succeeded(output)
        require(f":{port} " in output.out, output.both or "nothing listens")
        return output.out.strip().splitlines()[0]

    return check


def _apart(stage: Stage, output: Output) -> str:
    succeeded(output)
    host = stage.output("hostname")
    inside = stage.output("docker exec mysql cat /proc/sys/kernel/hostname")
    require(inside == host, f"host name inside: {inside}, the host's: {host}")
    processes = output.out.split()
    require(processes[0] == "1" and len(processes) < 10, f"processes inside: {processes}")
    require(stage.type(f"docker exec mysql ls {stage.folder}").status != 0, f"{stage.folder} can be seen inside")
    return f"{len(processes)} processes inside, the first is 1; the host's files cannot be seen; host name {host}"


SECTION = Section(
    3,
    "Host",
    (
        Step(
            f"docker run --net=host --name mysql -p 3306:3306 {MOUNTS} -d mysql",
            "the id, and a warning that published ports are discarded",
            _runs_and_warns,
            vital=True,
        ),
        Step(
            "docker run --net=host --name postgres1 -e POSTGRES_PASSWORD=123456 -p 54321:5432 -d postgres",
            "the same",
            _runs_and_warns,
            vital=True,
        ),
        Step("ip addr", "no veth; docker0 has no port", _no_interface),
        Step(
            mysql("SELECT USER()"),
            "mysql answers outside, on the host's own address",
            prints_exactly(f"root@{OUTSIDE_ADDRESS}"),
            where="outside",
            within=STARTING,
        ),
        Step(
            f"PGPASSWORD=123456 psql -h {HOST_ADDRESS} -p 5432 -U postgres -Atc 'select inet_client_addr()'",
            "postgres answers on its own port: 54321 is not published",
            prints_exactly(OUTSIDE_ADDRESS),
            where="outside",
            within=STARTING,
        ),
        Step("ss -ltnH sport = :3306", "the host itself listens on 3306", _listens(3306)),
        Step("ss -ltnH sport = :5432", "and on 5432", _listens(5432)),
        Step("docker port mysql", "nothing", prints_exactly("")),
        Step(
            "docker inspect mysql",
            "SandboxKey …/default, Ports {}, empty addresses, Networks.host",
            on_special("mysql", "host", "/default"),
        ),
        Step(
            "docker exec mysql sh -c 'cd /proc; echo [0-9]*'",
            "file system and process list are the container's own",
            _apart,
        ),
    ),
)
