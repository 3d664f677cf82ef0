"""1. Reached from outside: a database in a container, through a port of its host."""

from demo.stage import HOST_ADDRESS, OUTSIDE_ADDRESS, Stage
from demo.step import (
    Output,
    Section,
    Step,
    fails_with,
    prints,
    prints_an_id,
    prints_exactly,
    published,
    require,
    succeeded,
    works,
)

MOUNTS = "-v $D/mysql/data:/var/lib/mysql -v $D/mysql/conf:/etc/mysql/conf.d -e MYSQL_ROOT_PASSWORD=123456"
RUN_MYSQL = f"docker run --name mysql -p 3306:3306 {MOUNTS} -d mysql"
# A first start makes the database, which takes some seconds on a slow disk.
STARTING = 30.0


def mysql(sql: str, address: str = HOST_ADDRESS) -> str:
    """A line of shell: the real MySQL client, asking the server at an address."""
    return f'mysql -h {address} -P 3306 -uroot -p123456 -Ne "{sql}"'


def docker_port(stage: Stage, output: Output) -> str:
    """The published address; for IPv6 too where the host has it, and then it answers there as well."""
    succeeded(output)
    lines = published(output)
    require("0.0.0.0:3306" in lines and set(lines) <= {"0.0.0.0:3306", "[::]:3306"}, output.both)
    if "[::]:3306" in lines:
        require(stage.ask("::1", 3306).status == 0, "[::]:3306 is printed, but does not answer on [::1]")
    return " ".join(lines)


def _logged(stage: Stage, output: Output) -> str:
    succeeded(output)
    ours = [line.strip() for line in output.both.splitlines() if "root" in line or "stranger" in line]
    lines = [line for line in ours if OUTSIDE_ADDRESS in line]
    require(bool(lines), "no line of the log names the client's address")
    require(not any("172.17.0.1" in line for line in ours), "\n".join(ours))
    return lines[-1]


SECTION = Section(
    1,
    "Reached from outside",
    (
        Step(RUN_MYSQL, "the container's 64-digit id", prints_an_id, vital=True),
        Step(
            "docker ps",
            "mysql, docker-entrypoint.s…, Up …, 0.0.0.0:3306->3306/tcp and the unpublished 33060/tcp",
            prints(r' mysql +"docker-entrypoint\.s…" .* Up .* 0\.0\.0\.0:3306->3306/tcp, .*33060/tcp +mysql$'),
        ),
        Step(
            "docker port mysql 3306",
            "0.0.0.0:3306 (and [::]:3306 where the host has IPv6)",
            docker_port,
            within=STARTING,
        ),
        Step(
            mysql("SELECT USER()"),
            "the server answers outside, and sees the client's own address",
            prints_exactly(f"root@{OUTSIDE_ADDRESS}"),
            where="outside",
            within=STARTING,
            vital=True,
        ),
        Step(
            mysql(
                "CREATE DATABASE city; CREATE TABLE city.bikes (name TEXT); INSERT INTO city.bikes VALUES ('orange')"
            ),
            "a table is created and written from outside",
            works,
            where="outside",
        ),
        Step(mysql("SELECT name FROM city.bikes"), "the row", prints_exactly("orange"), where="outside"),
        Step(
            mysql("SELECT @@max_connections"),
            "77, as the file in $D/mysql/conf says",
            prints_exactly("77"),
            where="outside",
        ),
        Step(
            f"mysql -h {HOST_ADDRESS} -P 3306 -ustranger -pwrong -e 'SELECT 1'",
            "the server refuses a stranger, and names his own address",
            fails_with(f"Access denied for user 'stranger'@'{OUTSIDE_ADDRESS}'"),
            where="outside",
        ),
        Step("docker logs mysql", "the server's log has the client's address, not the gateway's", _logged),
        Step("docker stop mysql", "the name", prints_exactly("mysql")),
        Step(
            mysql("SELECT name FROM city.bikes"),
            "refused while it is stopped",
            fails_with("Can't connect|refused"),
            where="outside",
        ),
        Step("docker start mysql", "the name", prints_exactly("mysql")),
        Step(
            mysql("SELECT name FROM city.bikes"),
            "the row is still there",
            prints_exactly("orange"),
            where="outside",
            within=STARTING,
        ),
        Step("docker rm -f mysql", "the name", prints_exactly("mysql")),
        Step(RUN_MYSQL, "with the same -v again: another id", prints_an_id),
        Step(
            mysql("SELECT name FROM city.bikes"),
            "the row is still there",
            prints_exactly("orange"),
            where="outside",
            within=STARTING,
        ),
    ),
)
