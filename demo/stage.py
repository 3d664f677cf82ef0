"""What the steps act on: hosts with a daemon in each and one outside, on a fabric, and the clients in any of them."""

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from demo.client import Client
from demo.console import Console
from demo.daemons import Daemon
from demo.hosts import Fabric, Host
from demo.seat import Seat
from demo.step import Output, Wrong, require

HOST_ADDRESS = "10.211.55.4"
OUTSIDE_ADDRESS = "10.211.55.9"
PROBE = Path(__file__).parent / "probe.py"


class Stage:
    """The hosts and what runs in them. `folder` is the run's own; `addresses` are the hosts that a daemon runs in.

    Where nothing says which host is meant, it is the first.
    """

    def __init__(
        self,
        folder: Path,
        client: Client,
        daemon: Daemon,
        images: Path,
        console: Console,
        addresses: Mapping[str, str] | None = None,
    ) -> None:
        self.folder = folder
        self.client = client
        self.daemon = daemon
        self.console = console
        self.remembered: dict[str, str] = {}
        self._images = images
        paths = [str(Path(sys.executable).parent), *daemon.paths, os.environ.get("PATH", ""), "/usr/sbin:/sbin"]
        if Path(client.program).parent.name:
            paths.insert(0, str(Path(client.program).parent))
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("DOCKER_", "PG", "MYSQL_"))},
            "PATH": ":".join(path for path in paths if path),
            "DOCKER_CLI_HINTS": "false",
            "LC_ALL": "C.UTF-8",
        }
        self.fabric = Fabric()
        self.seats: dict[str, Seat] = {}
        for name, address in (addresses or {"host": HOST_ADDRESS}).items():
            host = self.fabric.plug(name, f"{address}/24")
            # The talk's host can reach the world; here everything beyond the fabric is the outside host.
            host.run(["ip", "route", "add", "default", "via", OUTSIDE_ADDRESS])
            self.seats[name] = Seat(host, folder / name, daemon, environment)
        self.first = next(iter(self.seats))
        self.outside = self.fabric.plug("outside", f"{OUTSIDE_ADDRESS}/24")
        self.machines = {"outside": self.outside}  # by name, those that run none of ours

    # --- starting and ending -----------------------------------------------------------------------------------------

    def prepare(self) -> None:
        """Lays out data and registries, and starts what answers outside."""
        answer = [sys.executable, str(PROBE), "answer", OUTSIDE_ADDRESS, "9000"]
        self.outside.start(answer, log=self.folder / "outside.log")
        for seat in self.seats.values():
            seat.prepare(self._images)

    def start_daemon(self, *flags: str, where: str = "") -> None:
        """Starts a host's daemon with these flags beside its own, and waits until it answers."""
        seat = self.seats[where or self.first]
        seat.start_daemon(lambda: self.type("docker version", where), *flags)

    def stop_daemon(self, where: str = "") -> None:
        """Asks a host's daemon to end, and waits for it."""
        self.seats[where or self.first].stop_daemon()

    def clear(self) -> None:
        """Removes every container of every host, with its volumes."""
        for where in self.seats:
            everything = self.type("docker ps -aq --no-trunc", where).out.split()
            if everything:
                self.type("docker rm -f -v " + " ".join(everything), where)

    def end(self) -> None:
        """Ends the hosts with everything in them."""
        self.fabric.end()
        for machine in self.machines.values():
            machine.end()

    # --- what steps and checks use -----------------------------------------------------------------------------------

    def type(self, command: str, where: str = "", timeout: float = 120) -> Output:
        """Runs a line of shell in a host, with the client in docker's place."""
        environment = self.seats.get(where, self.seats[self.first]).environment
        shell = ["bash", "-c", self.typed(command)]
        try:
            done = self._host(where).run(shell, env=environment, check=False, timeout=timeout)
        except subprocess.TimeoutExpired:
            raise Wrong(f"nothing after {timeout:.0f} s") from None
        return Output(done.returncode, done.stdout, done.stderr)

    def typed(self, command: str) -> str:
        """The command as it is typed here: with the client chosen, and the daemon's own view of NAT."""
        return self.daemon.nat if command == "linkspan nat" else self.client.typed(command)

    def output(self, command: str, where: str = "") -> str:
        """What a line of shell prints. Raises Wrong if it fails."""
        output = self.type(command, where)
        require(output.status == 0, f"{command}: {output.both}")
        return output.out.strip()

    def inspect(self, container: str, where: str = "") -> dict[str, Any]:
        """What the client's `inspect` says of a container."""
        answer: list[dict[str, Any]] = json.loads(self.output(f"docker inspect {shlex.quote(container)}", where))
        return answer[0]

    def ask(self, address: str, port: int, where: str = "", protocol: str = "tcp") -> Output:
        """Asks a port for an answer, from one of the hosts."""
        done = self._host(where).run(
            [sys.executable, str(PROBE), "ask", protocol, address, str(port)], check=False, timeout=20
        )
        return Output(done.returncode, done.stdout, done.stderr)

    def psql(self, address: str, port: int, where: str = "") -> str | None:
        """The address that a PostgreSQL server there sees us with; None where no server answers."""
        query = "select coalesce(host(inet_client_addr()), 'local')"
        options = f"-h {address} -p {port} -U postgres -Atc"
        done = self.type(f'PGCONNECT_TIMEOUT=2 PGPASSWORD=123456 psql {options} "{query}"', where)
        return done.out.strip() if done.status == 0 else None

    def links(self, container: str | None = None, where: str = "") -> list[dict[str, Any]]:
        """Interfaces with their addresses, of a host or of a container's sandbox, as `ip -j -d addr` has them."""
        found: list[dict[str, Any]] = json.loads(self._ip("-d addr", container, where))
        return found

    def routes(self, container: str, where: str = "") -> list[dict[str, Any]]:
        """IPv4 routes in a container's sandbox."""
        found: list[dict[str, Any]] = json.loads(self._ip("-4 route", container, where))
        return found

    def _ip(self, what: str, container: str | None, where: str) -> str:
        enter = ""
        if container is not None:
            pid = self.inspect(container, where)["State"]["Pid"]
            require(pid > 0, f"{container} does not run")
            enter = f"nsenter --target={pid} --net -- "
        return self.output(f"{enter}ip -j {what}", where)

    def _host(self, where: str) -> Host:
        return self.machines.get(where) or self.seats[where or self.first].host
