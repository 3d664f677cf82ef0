"""4. Container: two databases in one sandbox, with one address and one port space."""

from demo.section1_reached import MOUNTS, STARTING, mysql
from demo.settings import empty, settings
from demo.stage import HOST_ADDRESS, OUTSIDE_ADDRESS, Stage
from demo.step import Output, Section, Step, fails_with, prints_an_id, prints_exactly, require, succeeded

PSQL = f"PGPASSWORD=123456 psql -h {HOST_ADDRESS} -p 5432 -U postgres -Atc 'select inet_client_addr()'"
_JOINED = ("postgres1", "by_id", "by_prefix")


def _one_interface(stage: Stage, output: Output) -> str:
    succeeded(output)
    seen = set()
    for container in ("mysql", *_JOINED):
        links = {link["ifname"]: link for link in stage.links(container)}
        require(sorted(links) == ["eth0", "lo"], f"{container} has {sorted(links)}")
        eth0 = links["eth0"]
        addresses = [a["local"] for a in eth0["addr_info"] if a["family"] == "inet"]
        seen.add((eth0["address"], *addresses))
    require(len(seen) == 1, f"different interfaces: {sorted(seen)}")
    veths = [link["ifname"] for link in stage.links() if link["ifname"].startswith("veth")]
    require(len(veths) == 1, f"host interfaces: {veths}")
    mac, address = seen.pop()
    require(address == "172.17.0.2", address)
    return f"all four see eth0 {address} {mac}; one veth on the host"


def _settings_empty(stage: Stage, output: Output) -> str:
    succeeded(output)
    found = settings(stage, "postgres1")
    empty(found)
    require(found["Networks"] == {} and found["SandboxKey"] == "" and found["SandboxID"] == "", found)
    mode: str = stage.inspect("postgres1")["HostConfig"]["NetworkMode"]
    wanted = "container:" + stage.inspect("mysql")["Id"]
    require(mode in (wanted, "container:mysql"), f"NetworkMode {mode}")
    return 'Networks {}, SandboxKey "", Ports {}; NetworkMode ' + mode[:24] + "…"


def _mysql_settings(stage: Stage, output: Output) -> str:
    succeeded(output)
    ports = settings(stage, "mysql")["Ports"]
    require(set(ports) == {"3306/tcp", "5432/tcp", "33060/tcp"} and not ports["33060/tcp"], ports)
    for name in ("3306", "5432"):
        require({"HostIp": "0.0.0.0", "HostPort": name} in ports[f"{name}/tcp"], ports)
    return "3306/tcp and 5432/tcp published, 33060/tcp not"


def _apart(stage: Stage, output: Output) -> str:
    succeeded(output)
    require(
        "No such file" in stage.type("docker exec postgres1 ls /usr/sbin/mariadbd").both, "postgres1 has mysql's files"
    )
    names = {name: stage.output(f"docker exec {name} cat /proc/1/comm") for name in ("mysql", "postgres1")}
    require(names["postgres1"] == "postgres" and names["mysql"] != "postgres", names)
    return f"process 1: {names}; neither has the other's files"


def _all_run(stage: Stage, output: Output) -> str:
    """After the first one's restart, the joined ones run; started again, they share its sandbox."""
    succeeded(output)
    for name in _JOINED:
        require(stage.inspect(name)["State"]["Running"], f"{name} does not run")
    return "mysql is restarted; the joined ones run"


SECTION = Section(
    4,
    "Container",
    (
        Step(
            f"docker run --net=bridge --name mysql -p 3306:3306 -p 5432:5432 {MOUNTS} -d mysql",
            "the id",
            prints_an_id,
            vital=True,
        ),
        Step(
            "docker run --net=container:mysql --name postgres1 -e POSTGRES_PASSWORD=123456 -d postgres",
            "the id: joined by name",
            prints_an_id,
            vital=True,
        ),
        Step(
            "docker run --net=container:$(docker ps -q --no-trunc -f name=mysql) --name by_id -d busybox sleep 600",
            "the id: joined by id",
            prints_an_id,
        ),
        Step(
            "docker run --net=container:$(docker ps -q -f name=mysql) --name by_prefix -d busybox sleep 600",
            "the id: joined by a prefix of the id",
            prints_an_id,
        ),
        Step("ip addr", "one eth0 and one address for all of them, one veth on the host", _one_interface),
        Step(
            mysql("SELECT USER()"),
            "mysql's published port answers outside",
            prints_exactly(f"root@{OUTSIDE_ADDRESS}"),
            where="outside",
            within=STARTING,
        ),
        Step(
            PSQL,
            "and so does postgres's, which mysql publishes",
            prints_exactly(OUTSIDE_ADDRESS),
            where="outside",
            within=STARTING,
        ),
        Step(
            "docker exec mysql bash -c 'exec 3<>/dev/tcp/127.0.0.1/5432 && echo reached'",
            "from mysql, postgres is on 127.0.0.1",
            prints_exactly("reached"),
        ),
        Step(
            "docker exec postgres1 bash -c 'exec 3<>/dev/tcp/127.0.0.1/3306 && echo reached'",
            "from postgres, mysql is on 127.0.0.1",
            prints_exactly("reached"),
        ),
        Step("docker inspect mysql", "its two bindings", _mysql_settings),
        Step("docker inspect postgres1", "empty NetworkSettings", _settings_empty),
        Step("docker exec postgres1 cat /proc/1/comm", "file systems and processes stay apart", _apart),
        Step(
            "docker run --net=container:mysql -p 8080:80 busybox true",
            "refused with Docker's words",
            fails_with("conflicting options: port publishing and the container type network mode"),
        ),
        Step("docker restart mysql", "the first is restarted; the joined ones go on", _all_run),
        Step(mysql("SELECT 1"), "mysql answers outside again", prints_exactly("1"), where="outside", within=STARTING),
        # With Docker the joined ones would be left in a namespace without eth0 until they are restarted themselves.
        Step(
            PSQL,
            "so does postgres, which nobody restarted: the sandbox stays while anyone runs in it",
            prints_exactly(OUTSIDE_ADDRESS),
            where="outside",
            within=STARTING,
        ),
        Step("ip addr", "one eth0 and one address for all of them, as before", _one_interface),
        Step(
            "docker restart -t 1 postgres1 by_id by_prefix", "the joined ones, by name, by id and by prefix", _all_run
        ),
        Step("ip addr", "again one eth0 and one address", _one_interface),
        Step(
            PSQL,
            "postgres answers outside, through mysql's published port",
            prints_exactly(OUTSIDE_ADDRESS),
            where="outside",
            within=STARTING,
        ),
    ),
)
