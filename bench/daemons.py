"""linkspand and Debian's dockerd, each in a test host of its own, with the same image and the same docker client."""

from __future__ import annotations

import http.client
import io
import json
import os
import socket
import subprocess
import sys
import tarfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from demo.hosts import Host

from bench.peers import Docker
from bench.place import CGROUP, Place
from bench.worker import CHECKOUT

IMAGE = "bench:latest"
COMMAND = ("/bin/sleep", "1000000")
_BUSYBOX = Path("/bin/busybox")


class Daemon:
    """A daemon that runs in its host until the place ends."""

    def __init__(
        self,
        place: Place,
        name: str,
        docker: Docker,
        program: Sequence[str],
        flags: Sequence[str] = (),
        paths: Sequence[str] = (),
        host: Host | None = None,
    ) -> None:
        """`paths` come before everything else where it looks for programs. Without `host`, it has one made for it."""
        self.name = name
        self.folder = place.folder_for(name)
        self.host = host or place.host(name)
        self.socket = self.folder / "daemon.sock"
        self._docker = docker
        self._command = [
            *program,
            *("--data-root", str(self.folder / "lib"), "--exec-root", str(self.folder / "exec")),
            *("--pidfile", str(self.folder / "daemon.pid"), "-H", f"unix://{self.socket}"),
            *("--cgroup-parent", f"/{CGROUP}/{name}", *flags),
        ]
        path = ":".join([*docker.paths, os.environ.get("PATH", ""), "/usr/sbin:/sbin"])
        self._environment = {
            **os.environ,
            "PATH": ":".join([*paths, path]),
            "PYTHONPATH": str(CHECKOUT),  # for bench.traced; it runs in another directory
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        self._process: subprocess.Popen[bytes] | None = None
        self._client = [docker.program, "-H", f"unix://{self.socket}"]
        self._client_environment = {
            "PATH": path,
            "HOME": str(self.folder),
            "DOCKER_CLI_HINTS": "false",
            "DOCKER_CONFIG": str(self.folder),
        }

    def start(self, *flags: str) -> float:
        """Starts it with these flags beside its own; seconds until it answers."""
        began = time.perf_counter()
        self._process = self.host.start([*self._command, *flags], log=self.folder / "daemon.log", env=self._environment)
        while True:
            try:
                if self.api("GET", "/_ping")[0] == 200:
                    return time.perf_counter() - began
            except OSError:
                pass
            if self._process.poll() is not None or time.perf_counter() - began > 60:
                log = (self.folder / "daemon.log").read_text(errors="replace").splitlines()[-15:]
                raise RuntimeError(f"{self.name} does not answer:\n" + "\n".join(log))
            time.sleep(0.002)

    def stop(self) -> None:
        """Ends the daemon itself."""
        assert self._process is not None
        self.host.run(["kill", (self.folder / "daemon.pid").read_text().strip()])
        self._process.wait(30)

    def load_image(self) -> None:
        """One layer with a static busybox."""
        archive = self.folder / "image.tar"
        archive.write_bytes(_image())
        self.docker("import", "--change", f"CMD {json.dumps(COMMAND)}", str(archive), IMAGE)

    def docker(self, *arguments: str) -> tuple[float, str]:
        """Seconds that the docker client took, and what it printed. Raises RuntimeError."""
        start = time.perf_counter()
        done = subprocess.run(
            [*self._client, *arguments], capture_output=True, text=True, env=self._client_environment, check=False
        )
        seconds = time.perf_counter() - start
        if done.returncode:
            raise RuntimeError(f"{self.name}: docker {' '.join(arguments[:6])}: {done.stderr.strip()[-500:]}")
        return seconds, done.stdout.strip()

    def api(self, method: str, path: str, body: Any = None) -> tuple[int, bytes]:
        connection = _UnixConnection(self.socket)
        try:
            text = None if body is None else json.dumps(body)
            connection.request(method, path, text, {"Content-Type": "application/json"} if text else {})
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def timed(self, method: str, path: str, body: Any = None) -> tuple[float, Any]:
        """Seconds that a request took, and the JSON that it was answered with. Raises RuntimeError."""
        start = time.perf_counter()
        answer = self._must(method, path, body)
        return time.perf_counter() - start, json.loads(answer or b"null")

    def create(self, ports: Sequence[int] = (), network: str = "default", name: str = "") -> str:
        """A container with these host ports published at the same ports of it: its id."""
        host_config = {
            "NetworkMode": network,
            "PortBindings": {f"{port}/tcp": [{"HostPort": str(port)}] for port in ports},
        }
        body = {"Image": IMAGE, "ExposedPorts": {f"{port}/tcp": {} for port in ports}, "HostConfig": host_config}
        query = f"?name={name}" if name else ""
        return str(json.loads(self._must("POST", f"/containers/create{query}", body))["Id"])

    def inspect(self, id_: str) -> Any:
        """What is known of a container. Raises RuntimeError."""
        return json.loads(self._must("GET", f"/containers/{id_}/json"))

    def sandbox(self, id_: str) -> str:
        """Path of a running container's network namespace, as the machine can open it."""
        return f"/proc/{self.host.pid}/root{self.inspect(id_)['NetworkSettings']['SandboxKey']}"

    def run(self, id_: str) -> float:
        """Starts a container; seconds that the request took."""
        start = time.perf_counter()
        self._must("POST", f"/containers/{id_}/start")
        return time.perf_counter() - start

    def remove(self, id_: str) -> float:
        start = time.perf_counter()
        self._must("DELETE", f"/containers/{id_}?force=1&v=1")
        return time.perf_counter() - start

    def clear(self) -> None:
        for container in json.loads(self._must("GET", "/containers/json?all=1")):
            self.remove(container["Id"])

    def _must(self, method: str, path: str, body: Any = None) -> bytes:
        status, answer = self.api(method, path, body)
        if status >= 300:
            raise RuntimeError(f"{self.name}: {method} {path}: {status} {answer.decode(errors='replace')[:500]}")
        return answer


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=600)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.connect(str(self._path))


def linkspand(
    place: Place,
    docker: Docker,
    *,
    name: str = "linkspand",
    traced: Path | None = None,
    paths: Sequence[str] = (),
    host: Host | None = None,
) -> Daemon:
    """Ours, from the environment that runs this; with `traced`, its phases are written to that file."""
    program = [str(Path(sys.executable).parent / "linkspand")]
    if traced is not None:
        program = [sys.executable, "-m", "bench.traced", str(traced)]
    return Daemon(place, name, docker, program, paths=paths, host=host)


def dockerd(place: Place, docker: Docker, *, name: str = "dockerd", flags: Sequence[str] = ()) -> Daemon:
    """Debian's, with a containerd of its own."""
    return Daemon(place, name, docker, [docker.dockerd], flags)


def _image() -> bytes:
    """A tar archive: busybox under the names that are called here."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for folder in ("bin", "dev", "etc", "proc", "sys", "tmp"):
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(entry)
        entry = tarfile.TarInfo("bin/busybox")
        entry.mode, entry.size = 0o755, _BUSYBOX.stat().st_size
        with _BUSYBOX.open("rb") as program:
            tar.addfile(entry, program)
        for name in ("sh", "sleep", "true"):
            entry = tarfile.TarInfo(f"bin/{name}")
            entry.type, entry.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(entry)
        text = b"root:x:0:0:root:/:/bin/sh\n"
        entry = tarfile.TarInfo("etc/passwd")
        entry.size = len(text)
        tar.addfile(entry, io.BytesIO(text))
    return file.getvalue()
