"""linkspand in a test host, and the clients that talk to it."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
from demo.hosts import Host

from tests.docker_client import DOCKER, OLD_CLIENT
from tests.product import image

PROGRAMS = Path(sys.executable).parent
CGROUP = f"linkspan-product-{os.getpid()}"
CGROUPS = Path("/sys/fs/cgroup")
_UNBRACKETED = re.compile(r"(?<!\S)([0-9a-f:]*::[0-9a-f:]*?):(\d+)(?=->|\s|$)", re.MULTILINE)


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    status: int
    out: str
    err: str

    @property
    def both(self) -> str:
        return self.out + self.err


class Engine:
    """A daemon with a folder on a disk and a control group of its own: started and ended as often as a test likes."""

    def __init__(self, folder: Path, host: Host, cgroup: str = CGROUP) -> None:
        self.folder = folder
        folder.mkdir(parents=True)
        self.host, self.cgroup = host, cgroup
        self.data_root, self.exec_root = folder / "lib", folder / "exec"
        self.socket = folder / "d.sock"
        (folder / "none.json").write_text("{}")
        self.log = folder / "daemon.log"
        self.flags: tuple[str, ...] = ()
        self.process: subprocess.Popen[bytes] | None = None
        self.environment = {
            "PATH": f"{PROGRAMS}:{os.environ['PATH']}:/usr/sbin:/sbin",
            "HOME": str(folder),
            "DOCKER_HOST": f"unix://{self.socket}",
            "DOCKER_CONFIG": str(folder / "client"),
            "DOCKER_CLI_HINTS": "false",
            "LC_ALL": "C.UTF-8",
            "OVS_RUNDIR": str(folder / "ovs"),  # where a test may start one, instead of the machine's own
        }
        self.api: docker.DockerClient = docker.DockerClient.__new__(docker.DockerClient)

    # -- the daemon ---------------------------------------------------------------------------------------------------

    def command(self, *flags: str) -> list[str]:
        return [
            str(PROGRAMS / "linkspand"),
            *("--config-file", str(self.folder / "none.json")),  # not the machine's own
            *("--data-root", str(self.data_root), "--exec-root", str(self.exec_root)),
            *(
                "-H",
                f"unix://{self.socket}",
                "--pidfile",
                str(self.folder / "pid"),
                "--cgroup-parent",
                f"/{self.cgroup}",
            ),
            *flags,
        ]

    def start(self, *flags: str) -> None:
        """Starts the daemon and waits until it answers. Raises RuntimeError with what it said where it does not."""
        self.flags = flags
        self.process = self.host.start(self.command(*flags), log=self.log, env=self.environment)
        deadline = time.monotonic() + 20
        while True:
            with contextlib.suppress(OSError, http.client.HTTPException):
                if self.request("GET", "/_ping")[0] == 200:
                    break
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"linkspand ended or does not answer:\n{self.log.read_text()[-2000:]}")
            time.sleep(0.02)
        self.api = docker.DockerClient(base_url=f"unix://{self.socket}", timeout=60)

    def refuses(self, *flags: str) -> str:
        """What a daemon says that does not start with these flags. Raises AssertionError where it starts."""
        process = self.host.start(self.command(*flags), log=self.folder / "refused.log", env=self.environment)
        try:
            status = process.wait(15)
        except subprocess.TimeoutExpired:
            process.terminate()
            process.wait(15)
            raise AssertionError(f"linkspand runs with {flags}") from None
        said = (self.folder / "refused.log").read_text()
        (self.folder / "refused.log").unlink()
        assert status not in (0, -signal.SIGTERM) and "Traceback" not in said, said
        return said

    @property
    def pid(self) -> int:
        """The daemon's process id on this machine (its pid file has the one in its host)."""
        assert self.process is not None
        # nsenter forks into the host's process namespace: the daemon is its one child.
        return int(Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()[0])

    def end(self, number: int = signal.SIGTERM) -> None:
        """Ends the daemon by a signal, and waits until it is gone."""
        assert self.process is not None
        self.api.close()
        os.kill(self.pid, number)
        self.process.wait(20)

    def busy_with(self) -> str:
        """What the daemon is doing right now, by its own word: for a report about one that does not answer."""
        assert self.process is not None
        if self.process.poll() is not None:
            return f"it has ended:\n{self.log.read_text()[-2000:]}"
        size = self.log.stat().st_size
        os.kill(self.pid, signal.SIGUSR1)
        time.sleep(0.5)  # it writes when it comes to it; there is nothing to wait for
        return self.log.read_bytes()[size:].decode(errors="replace")

    def answers(self) -> bool:
        """Within ten seconds."""
        with contextlib.suppress(OSError, http.client.HTTPException):
            return self.request("GET", "/_ping", timeout=10)[0] == 200
        return False

    def restart(self, number: int = signal.SIGTERM, *flags: str) -> None:
        self.end(number)
        self.start(*(flags or self.flags))

    # -- clients ------------------------------------------------------------------------------------------------------

    def docker(
        self, *arguments: str, stdin: str | None = None, status: int | None = 0, timeout: float = 60, program: str = ""
    ) -> Done:
        """A command of the docker client, which ends with `status` (None: any)."""
        try:
            done = subprocess.run(
                [program or DOCKER, *arguments],
                input=None if stdin is None else stdin.encode(),
                stdin=subprocess.DEVNULL if stdin is None else None,
                capture_output=True,
                timeout=timeout,
                env=self.environment,
                cwd=self.folder,
            )
        except subprocess.TimeoutExpired as late:
            raise AssertionError(f"docker {' '.join(arguments)}: no end; the daemon: {self.busy_with()}") from late
        out = done.stdout.decode(errors="replace")
        if OLD_CLIENT and not program:  # it prints `:::8080`, and later ones `[::]:8080`
            out = _UNBRACKETED.sub(r"[\1]:\2", out)
        result = Done(done.returncode, out, done.stderr.decode(errors="replace"))
        assert status is None or result.status == status, f"docker {' '.join(arguments)}: {result}"
        assert "Traceback" not in result.both, result.both
        return result

    def linkspan(self, *arguments: str, **options: Any) -> Done:
        return self.docker(*arguments, program=str(PROGRAMS / "linkspan"), **options)

    def newest(self, *arguments: str, **options: Any) -> Done:
        """A command that needs a flag which Docker 20.10's client does not know."""
        return self.linkspan(*arguments, **options) if OLD_CLIENT else self.docker(*arguments, **options)

    def out(self, *arguments: str, **options: Any) -> str:
        """What a docker command prints."""
        return self.docker(*arguments, **options).out.strip()

    def popen(self, *arguments: str, program: str = "", **options: Any) -> subprocess.Popen[bytes]:
        """A client that goes on, with its streams as pipes unless `options` say otherwise."""
        streams = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE) | options
        return subprocess.Popen([program or DOCKER, *arguments], env=self.environment, cwd=self.folder, **streams)

    def inspect(self, ref: str) -> Any:
        return json.loads(self.out("inspect", ref))[0]

    def run(self, *arguments: str) -> str:
        """`docker run -d`; the id."""
        return self.out("run", "-d", *arguments)

    def request(self, method: str, path: str, body: Any = None, timeout: float = 60) -> tuple[int, Any]:
        """A request of the API as it stands: (status, JSON, or the text where it is none)."""
        data = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        link = Unix(self.socket, timeout)
        with contextlib.closing(link):
            link.request(method, path, data, {"Content-Type": "application/json"} if data is not None else {})
            answer = link.getresponse()
            text = answer.read()
        with contextlib.suppress(ValueError):
            return answer.status, json.loads(text)
        return answer.status, text.decode(errors="replace")

    # -- the host -----------------------------------------------------------------------------------------------------

    def sandbox(self, ref: str) -> str:
        """Path of a container's network namespace, as this process can open it."""
        return f"/proc/{self.host.pid}/root{self.inspect(ref)['NetworkSettings']['SandboxKey']}"

    def address(self, ref: str) -> str:
        """A container's address on its one network."""
        (network,) = self.inspect(ref)["NetworkSettings"]["Networks"].values()
        return str(network["IPAddress"])

    def ip(self, *arguments: str) -> Any:
        """`ip -j …` in the host."""
        return json.loads(self.host.run(["ip", "-j", *arguments]).stdout or "[]")

    def import_images(self) -> None:
        """The images `plain` and `web`, by `docker import`."""
        archive = self.folder / "image.tar"
        archive.write_bytes(image.tar())
        for name, changes in (("plain", image.PLAIN), ("web", image.WEB)):
            self.docker("import", *(word for change in changes for word in ("-c", change)), str(archive), name)
        archive.unlink()

    def remove_containers(self) -> None:
        if containers := self.out("ps", "-aq", "--no-trunc").split():
            self.docker("rm", "-f", "-v", *containers, status=None)

    def networks(self) -> list[str]:
        """Ids of the networks that somebody has made."""
        return self.out("network", "ls", "-q", "--no-trunc", "-f", "type=custom").split()

    def clear(self) -> None:
        """Removes what a test has made: policies, containers, networks, volumes."""
        for one in self.resources():
            self.request("DELETE", f"/policy/resources/{one}")  # in a cluster another host may have been quicker
        self.remove_containers()
        if networks := self.networks():
            self.docker("network", "rm", *networks)
        if volumes := self.out("volume", "ls", "-q").split():
            self.docker("volume", "rm", *volumes)

    def resources(self) -> list[str]:
        """Policies and what is stored with them, as the API's paths name them; tiers last, which policies need."""
        items = self.request("GET", "/policy/resources")[1]["items"]
        found = ((one["kind"], one["metadata"]) for one in items)
        paths = [
            f"{kind}/{metadata['name']}?network={metadata.get('namespace', '')}"
            for kind, metadata in found
            if (kind, metadata["name"]) != ("Tier", "default")
        ]
        return sorted(paths, key=lambda path: path.startswith("Tier/"))

    @property
    def here(self) -> str:
        """Path of the host's network namespace."""
        return space(self.host)

    def control_groups(self) -> list[str]:
        """Those of the daemon's containers."""
        return sorted(str(path) for top in _hierarchies() for path in (top / self.cgroup).glob("**/*") if path.is_dir())

    def remove(self) -> None:
        """Removes the folder and the control groups, once the host with everything in it has been ended."""
        with contextlib.suppress(AttributeError):
            self.api.close()
        if self.process is not None:
            self.process.wait(20)
        self.remove_control_groups()
        shutil.rmtree(self.folder)

    def remove_control_groups(self) -> None:
        """Those that the host's end has left empty."""
        deadline = time.monotonic() + 10
        while left := self._remove_control_groups():
            assert time.monotonic() < deadline, left
            time.sleep(0.05)

    def _remove_control_groups(self) -> list[str]:
        left = []
        for top in _hierarchies():
            for folder, _, _ in os.walk(top / self.cgroup, topdown=False):
                try:
                    Path(folder).rmdir()
                except OSError as error:
                    left.append(str(error))
        return left


class Unix(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: Path, timeout: float = 60) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def space(host: Host) -> str:
    """Path of a host's network namespace."""
    return f"/proc/{host.pid}/ns/net"


def _hierarchies() -> list[Path]:
    return [CGROUPS, *(path for path in CGROUPS.iterdir() if path.is_dir() and not path.is_symlink())]
