"""What the steps act on: two hosts on a fabric, a registry, the daemon, and the clients in either host."""

import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from demo import registry
from demo.client import Client
from demo.console import Console
from demo.daemons import Daemon
from demo.hosts import Fabric, Host
from demo.step import Output, Wrong, require

HOST_ADDRESS = "10.211.55.4"
OUTSIDE_ADDRESS = "10.211.55.9"
REGISTRY = "127.0.0.1:5000"
PROBE = Path(__file__).parent / "probe.py"


class Stage:
    """The hosts and what runs in them. `folder` is the run's own; `D` in the commands is its data."""

    def __init__(self, folder: Path, client: Client, daemon: Daemon, images: Path, console: Console) -> None:
        self.folder = folder
        self.client = client
        self.daemon = daemon
        self.console = console
        self.data = folder / "data"
        self.remembered: dict[str, str] = {}
        self._images = images
        self._running: subprocess.Popen[bytes] | None = None
        self.fabric = Fabric()
        self.host = self.fabric.plug("host", f"{HOST_ADDRESS}/24")
        self.outside = self.fabric.plug("outside", f"{OUTSIDE_ADDRESS}/24")
        # The talk's host can reach the world; here everything beyond the fabric is the outside host.
        self.host.run(["ip", "route", "add", "default", "via", OUTSIDE_ADDRESS])
        paths = [str(Path(sys.executable).parent), *daemon.paths, os.environ.get("PATH", ""), "/usr/sbin:/sbin"]
        if Path(client.program).parent.name:
            paths.insert(0, str(Path(client.program).parent))
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("DOCKER_", "PG", "MYSQL_"))},
            "PATH": ":".join(path for path in paths if path),
            "DOCKER_HOST": f"unix://{self.socket}",
            "DOCKER_CONFIG": str(folder / "client"),
            "DOCKER_CLI_HINTS": "false",
            "D": str(self.data),
            "HOME": str(folder),
            "LC_ALL": "C.UTF-8",
        }

    @property
    def socket(self) -> Path:
        """Where the daemon listens."""
        return self.folder / "daemon.sock"

    # --- starting and ending -----------------------------------------------------------------------------------------

    def prepare(self) -> None:
        """Lays out the data that containers mount, and starts the registry and what answers outside."""
        shutil.copy(Path(__file__).parent / "answer.pl", self.data_folder("bin") / "answer")
        (self.data / "bin" / "answer").chmod(0o755)
        # A setting to be seen in the server, and one for servers that log no client at first (`loose`: others skip it).
        settings = "[mysqld]\nmax_connections = 77\nloose_log_error_verbosity = 3\n"
        (self.data_folder("mysql/conf") / "demo.cnf").write_text(settings)
        self.data_folder("mysql/data")
        answer = [sys.executable, str(PROBE), "answer", OUTSIDE_ADDRESS, "9000"]
        self.outside.start(answer, log=self.folder / "outside.log")
        process = registry.start(self.host.enter(), self._images / "registry", self.folder, REGISTRY)
        registry.wait_until_it_answers(self.host.enter(), process, REGISTRY)

    def data_folder(self, name: str) -> Path:
        """A folder below D, made."""
        folder = self.data / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def start_daemon(self, *flags: str) -> None:
        """Starts the daemon with these flags beside its own, and waits until it answers."""
        (self.folder / "daemon.json").write_text("{}")
        command = self.daemon.command(self.folder, self.socket, *flags)
        self._running = self.host.start(command, log=self.folder / "daemon.log", env=self.environment)
        deadline = time.monotonic() + 30
        while (answer := self.type("docker version")).status:
            if self._running.poll() is not None:
                raise RuntimeError(f"{self.daemon.name} ended with status {self._running.returncode}:\n{self._tail()}")
            if time.monotonic() > deadline:
                raise RuntimeError(f"{self.daemon.name} does not answer: {answer.both}\n{self._tail()}")
            time.sleep(0.05)

    def stop_daemon(self) -> None:
        """Asks the daemon to end, and waits for it."""
        pidfile = self.folder / "daemon.pid"
        if self._running is not None and pidfile.exists():
            self.host.run(["kill", pidfile.read_text().strip()], check=False)
            try:
                self._running.wait(20)
            except subprocess.TimeoutExpired:
                raise RuntimeError(f"{self.daemon.name} does not end within 20 s of SIGTERM") from None
            finally:
                self._running = None

    def clear(self) -> None:
        """Removes every container, with its volumes."""
        everything = self.type("docker ps -aq --no-trunc").out.split()
        if everything:
            self.type("docker rm -f -v " + " ".join(everything))

    def end(self) -> None:
        """Ends the hosts with everything in them."""
        self.fabric.end()

    def _tail(self) -> str:
        log = self.folder / "daemon.log"
        return "\n".join(log.read_text(errors="replace").splitlines()[-15:]) if log.exists() else ""

    # --- what steps and checks use -----------------------------------------------------------------------------------

    def type(self, command: str, where: str = "host", timeout: float = 120) -> Output:
        """Runs a line of shell in a host, with the client in docker's place."""
        host = self._host(where)
        shell = ["bash", "-c", self.typed(command)]
        try:
            done = host.run(shell, env=self.environment, check=False, timeout=timeout)
        except subprocess.TimeoutExpired:
            raise Wrong(f"nothing after {timeout:.0f} s") from None
        return Output(done.returncode, done.stdout, done.stderr)

    def typed(self, command: str) -> str:
        """The command as it is typed here: with the client chosen, and the daemon's own view of NAT."""
        return self.daemon.nat if command == "linkspan nat" else self.client.typed(command)

    def output(self, command: str, where: str = "host") -> str:
        """What a line of shell prints. Raises Wrong if it fails."""
        output = self.type(command, where)
        require(output.status == 0, f"{command}: {output.both}")
        return output.out.strip()

    def inspect(self, container: str) -> dict[str, Any]:
        """What the client's `inspect` says of a container."""
        answer: list[dict[str, Any]] = json.loads(self.output(f"docker inspect {shlex.quote(container)}"))
        return answer[0]

    def ask(self, address: str, port: int, where: str = "host", protocol: str = "tcp") -> Output:
        """Asks a port for an answer, from one of the hosts."""
        done = self._host(where).run(
            [sys.executable, str(PROBE), "ask", protocol, address, str(port)], check=False, timeout=20
        )
        return Output(done.returncode, done.stdout, done.stderr)

    def psql(self, address: str, port: int, where: str = "host") -> str | None:
        """The address that a PostgreSQL server there sees us with; None where no server answers."""
        query = "select coalesce(host(inet_client_addr()), 'local')"
        options = f"-h {address} -p {port} -U postgres -Atc"
        done = self.type(f'PGCONNECT_TIMEOUT=2 PGPASSWORD=123456 psql {options} "{query}"', where)
        return done.out.strip() if done.status == 0 else None

    def links(self, container: str | None = None, where: str = "host") -> list[dict[str, Any]]:
        """Interfaces with their addresses, of a host or of a container's sandbox, as `ip -j -d addr` has them."""
        found: list[dict[str, Any]] = json.loads(self._ip("-d addr", container, where))
        return found

    def routes(self, container: str) -> list[dict[str, Any]]:
        """IPv4 routes in a container's sandbox."""
        found: list[dict[str, Any]] = json.loads(self._ip("-4 route", container, "host"))
        return found

    def _ip(self, what: str, container: str | None, where: str) -> str:
        enter = ""
        if container is not None:
            pid = self.inspect(container)["State"]["Pid"]
            require(pid > 0, f"{container} does not run")
            enter = f"nsenter --target={pid} --net -- "
        return self.output(f"{enter}ip -j {what}", where)

    def _host(self, where: str) -> Host:
        return self.outside if where == "outside" else self.host
