"""A test host with a daemon in it, and what is laid out there: data that containers mount, and a registry."""

import shutil
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from demo import registry
from demo.daemons import Daemon
from demo.hosts import Host
from demo.step import Output

REGISTRY = "127.0.0.1:5000"


class Seat:
    """Everything is kept in `folder`; `D` in what is typed here is its data."""

    def __init__(self, host: Host, folder: Path, daemon: Daemon, environment: Mapping[str, str]) -> None:
        folder.mkdir()
        self.host = host
        self.folder = folder
        self.daemon = daemon
        self.socket = folder / "daemon.sock"
        self.data = folder / "data"
        self.switch = folder / "ovs"  # where an Open vSwitch of the host's own would be
        self.environment = {
            **environment,
            "DOCKER_HOST": f"unix://{self.socket}",
            "DOCKER_CONFIG": str(folder / "client"),
            "D": str(self.data),
            "OVS_RUNDIR": str(self.switch),
            "HOME": str(folder),
        }
        self._running: subprocess.Popen[bytes] | None = None

    def prepare(self, images: Path) -> None:
        """Lays out the data that containers mount, and starts the registry."""
        shutil.copy(Path(__file__).parent / "answer.pl", self.data_folder("bin") / "answer")
        (self.data / "bin" / "answer").chmod(0o755)
        # A setting to be seen in the server, and one for servers that log no client at first (`loose`: others skip it).
        settings = "[mysqld]\nmax_connections = 77\nloose_log_error_verbosity = 3\n"
        (self.data_folder("mysql/conf") / "demo.cnf").write_text(settings)
        self.data_folder("mysql/data")
        process = registry.start(self.host.enter(), images / "registry", self.folder, REGISTRY)
        registry.wait_until_it_answers(self.host.enter(), process, REGISTRY)

    def data_folder(self, name: str) -> Path:
        """A folder below D, made."""
        folder = self.data / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def start_daemon(self, version: Callable[[], Output], *flags: str) -> None:
        """Starts the daemon with these flags beside its own, and waits until it answers `version`."""
        (self.folder / "daemon.json").write_text("{}")
        command = self.daemon.command(self.folder, self.socket, *flags)
        self._running = self.host.start(command, log=self.log, env=self.environment)
        deadline = time.monotonic() + 30
        while (answer := version()).status:
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

    @property
    def log(self) -> Path:
        """What the daemon says."""
        return self.folder / "daemon.log"

    def _tail(self) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-15:]) if self.log.exists() else ""
