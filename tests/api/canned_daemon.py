"""A daemon without a kernel: two canned containers, and processes that are coroutines.

`web` runs and publishes a port, `job` has ended with status 3. A process is `cat` (what comes in goes out, the end of
input ends it) except where its command is `["sh"]`: that one understands the lines `exit N` and `err TEXT`.
"""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any

import msgspec

from linkspan.daemon.views import Attachment, ContainerView, ExecView, ImageView, NetworkView, Republished, VolumeView
from linkspan.engine.request import NetworkRequest
from linkspan.engine.update import NetworkUpdate
from linkspan.errors import Conflict, InvalidArgument, NotFound, NotModified
from linkspan.model.container import Config, Container, EndpointSettings, ExecConfig, HostConfig, Mount, State
from linkspan.model.endpoint import Binding, Endpoint, Sandbox
from linkspan.model.event import Event
from linkspan.model.image import HistoryEntry, Image, ImageConfig
from linkspan.model.network import Network, Pool
from linkspan.model.port import Withdrawal
from linkspan.model.volume import Volume
from linkspan.runtime.attachment import STDERR, STDOUT

WEB, JOB = "a1" * 32, "b2" * 32
IMAGE = "sha256:" + "c3" * 32
BRIDGE, HOST, APP = "d4" * 32, "e5" * 32, "f6" * 32
Progress = dict[str, Any]
CREATED = "2026-01-02T03:04:05.000000000Z"


class Process:
    """Something with standard streams; an Attachment to itself, for one client."""

    def __init__(self, command: tuple[str, ...], tty: bool) -> None:
        self.command, self.tty = command, tty
        self.output: asyncio.Queue[tuple[int, bytes] | None] = asyncio.Queue()
        self.ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.size = (0, 0)
        self.detached = False
        self._line = b""

    def say(self, data: bytes, stream: int = STDOUT) -> None:
        self.output.put_nowait((stream, data))

    def end(self, status: int) -> None:
        if not self.ended.done():
            self.ended.set_result(status)
            self.output.put_nowait(None)

    async def read(self) -> tuple[int, bytes] | None:
        return await self.output.get()

    async def write(self, data: bytes) -> None:
        if self.command != ("sh",):
            self.say(data)
            return
        if self.tty:
            self.say(data.replace(b"\r", b"\r\n"))
        *lines, self._line = (self._line + data.replace(b"\r", b"\n")).split(b"\n")
        for line in lines:
            word, _, rest = line.partition(b" ")
            if word == b"exit":
                self.end(int(rest or b"0"))
            elif word == b"err":
                self.say(rest + b"\n", STDERR)

    async def close_input(self) -> None:
        self.end(0)

    async def close(self) -> None:
        self.detached = True


class FakeContainers:
    def __init__(self, daemon: FakeDaemon) -> None:
        self.daemon = daemon
        self.asked: list[tuple[Any, ...]] = []
        self.all = {view.container.id: view for view in (web(), job())}
        self.processes: dict[str, Process] = {}
        self.execs: dict[str, tuple[ExecView, Process | None]] = {}
        self.waiting: dict[str, list[asyncio.Future[tuple[int, str]]]] = {}
        self.files: dict[str, bytes] = {}
        self.log_closed = asyncio.Event()

    def view(self, ref: str) -> ContainerView:
        for view in self.all.values():
            if view.container.name == ref.lstrip("/") or view.container.id.startswith(ref):
                return view
        raise NotFound(f"No such container: {ref}")

    def views(self) -> list[ContainerView]:
        return sorted(self.all.values(), key=lambda view: view.container.created, reverse=True)

    async def create(
        self,
        name: str,
        config: Config,
        host_config: HostConfig,
        networks: Mapping[str, EndpointSettings],
        *,
        wanted_platform: str = "",
    ) -> tuple[str, list[str]]:
        self.asked.append(("create", name, config, host_config, networks))
        if any(view.container.name == name for view in self.all.values()):
            raise Conflict(f'Conflict. The container name "/{name}" is already in use')
        if config.image != "mysql":
            raise NotFound(f"No such image: {config.image}")
        id_ = f"{len(self.all):064x}"
        command = (*(config.entrypoint or ()), *(config.cmd or ("cat",)))
        container = Container(
            id=id_,
            name=name or f"made{len(self.all)}",
            created=f"2026-01-03T00:00:{len(self.all):02}.000000000Z",
            image_id=IMAGE,
            config=config,
            host_config=host_config,
            path=command[0],
            args=command[1:],
        )
        self.all[id_] = ContainerView(container, None, (), image(), "", "", "", "")
        self.processes[id_] = Process(command, config.tty)
        return id_, []

    def _set(self, id_: str, **state: Any) -> None:
        view = self.all[id_]
        container = msgspec.structs.replace(view.container, state=State(**state))
        self.all[id_] = dataclasses.replace(view, container=container)

    async def start(self, ref: str) -> None:
        container = self.view(ref).container
        if container.state.running:
            raise NotModified("it runs")
        self._set(container.id, status="running", pid=42, started_at=CREATED)
        process = self.processes[container.id]
        if process.command[0] == "status":
            process.end(int(process.command[1]))

        def ended(future: asyncio.Future[int]) -> None:
            self._set(container.id, status="exited", exit_code=future.result(), started_at=CREATED, finished_at=CREATED)
            for waiter in self.waiting.pop(container.id, []):
                if not waiter.done():
                    waiter.set_result((future.result(), ""))
            if container.host_config.auto_remove:
                del self.all[container.id]

        process.ended.add_done_callback(ended)

    async def stop(self, ref: str, timeout: int | None, signal: str) -> None:
        if not self.view(ref).container.state.running:
            raise NotModified("it does not run")
        self.asked.append(("stop", ref, timeout, signal))

    async def kill(self, ref: str, signal: str) -> None:
        self.asked.append(("kill", ref, signal))

    async def remove(self, ref: str, *, force: bool, volumes: bool) -> None:
        container = self.view(ref).container
        if container.state.running and not force:
            raise Conflict(f'cannot remove container "{ref}": container is running')
        del self.all[container.id]

    async def rename(self, ref: str, name: str) -> None:
        self.asked.append(("rename", ref, name))

    async def update(self, ref: str, changes: bytes) -> list[str]:
        self.asked.append(("update", ref, changes))
        return []

    async def prune(self, keep: Callable[[ContainerView], bool]) -> tuple[list[str], int]:
        gone = [v.container.id for v in self.views() if not v.container.state.running and not keep(v)]
        return gone, 7

    def wait(self, ref: str, condition: str) -> Awaitable[tuple[int, str]]:
        container = self.view(ref).container
        future: asyncio.Future[tuple[int, str]] = asyncio.get_running_loop().create_future()
        if condition == "not-running" and not container.state.running:
            future.set_result((container.state.exit_code, ""))
        else:
            self.waiting.setdefault(container.id, []).append(future)
        return future

    async def attach(self, ref: str, *, stdin: bool) -> Process:
        return self.processes.setdefault(self.view(ref).container.id, Process(("cat",), False))

    async def logs(self, ref: str, **options: Any) -> AsyncIterator[tuple[int, bytes]]:
        self.asked.append(("logs", options))
        try:
            yield STDOUT, b"one\n"
            yield STDERR, b"two\n"
            if options["follow"]:
                await asyncio.Event().wait()
        finally:
            self.log_closed.set()

    async def resize(self, ref: str, height: int, width: int) -> None:
        self.processes[self.view(ref).container.id].size = (height, width)

    async def top(self, ref: str, ps_args: str) -> tuple[list[str], list[list[str]]]:
        return ["PID", "CMD"], [["42", ps_args]]

    async def stats(self, ref: str) -> dict[str, Any]:
        return {
            "read": CREATED,
            "name": "/web",
            "id": WEB,
            "cpu_stats": {"cpu_usage": {"total_usage": 5}, "system_cpu_usage": 100, "online_cpus": 2},
            "memory_stats": {"usage": 1024, "limit": 4096, "stats": {}},
            "networks": {"eth0": {"rx_bytes": 10, "tx_bytes": 20}},
            "pids_stats": {"current": 1},
        }

    async def changes(self, ref: str) -> list[tuple[int, str]]:
        return [(0, "/etc"), (1, "/etc/new")]

    async def size(self, ref: str) -> tuple[int, int]:
        return 10, 1000

    async def export(self, ref: str) -> AsyncIterator[bytes]:
        for _ in range(3):
            yield b"x" * 100_000

    async def archive_stat(self, ref: str, path: str) -> dict[str, Any]:
        if path not in self.files:
            raise NotFound(f"Could not find the file {path} in container {ref}")
        return {"name": path.rpartition("/")[2], "size": 3, "mode": 0o644, "mtime": CREATED, "linkTarget": ""}

    async def archive_get(self, ref: str, path: str) -> AsyncIterator[bytes]:
        yield self.files[path]

    async def archive_put(
        self, ref: str, path: str, body: AsyncIterator[bytes], *, no_overwrite: bool, copy_owner: bool
    ) -> None:
        self.files[path] = b"".join([piece async for piece in body])

    async def exec_create(self, ref: str, config: ExecConfig) -> str:
        id_ = f"{len(self.execs) + 1:064x}"
        self.execs[id_] = ExecView(id_, self.view(ref).container.id, config, False, None, 0), None
        return id_

    async def exec_start(
        self, exec_id: str, *, detach: bool, tty: bool, console_size: tuple[int, int] | None
    ) -> Process | None:
        view = self.exec_view(exec_id)
        await asyncio.sleep(0.02)  # no process starts in less; docker-py counts on it
        if view.config.cmd[0] == "missing":
            self.execs[exec_id] = dataclasses.replace(view, exit_code=127), None
            raise InvalidArgument('exec: "missing": executable file not found in $PATH')
        process = Process(view.config.cmd, tty)
        self.execs[exec_id] = dataclasses.replace(view, running=True, pid=43), process
        process.size = console_size or (0, 0)

        def ended(future: asyncio.Future[int]) -> None:
            self.execs[exec_id] = dataclasses.replace(view, exit_code=future.result()), process

        process.ended.add_done_callback(ended)
        if detach:
            return None
        if tty:
            process.say(b"$ ")
        if view.config.cmd[0] == "echo":
            process.say(" ".join(view.config.cmd[1:]).encode() + b"\n")
            process.end(0)
        return process

    async def exec_resize(self, exec_id: str, height: int, width: int) -> None:
        process = self.execs[exec_id][1]
        if process is not None:
            process.size = (height, width)

    def exec_view(self, exec_id: str) -> ExecView:
        if exec_id not in self.execs:
            raise NotFound(f"No such exec instance: {exec_id}")
        return self.execs[exec_id][0]


class FakeNetworks:
    def __init__(self, daemon: FakeDaemon) -> None:
        self.asked: list[tuple[Any, ...]] = []
        view = web()
        self.all = [
            NetworkView(place.network, ((view.container, place.endpoint),) if place.endpoint else ())
            for place in view.attachments
        ] + [NetworkView(Network(id=HOST, name="host", driver="host", created=CREATED), ())]

    async def view(self, ref: str) -> NetworkView:
        for view in self.all:
            if view.network.name == ref or view.network.id.startswith(ref):
                return view
        raise NotFound(f"network {ref} not found")

    def views(self) -> list[NetworkView]:
        return self.all

    async def create(self, asked: NetworkRequest) -> tuple[str, str]:
        self.asked.append(("create", asked))
        return "07" * 32, ""

    async def update(self, ref: str, wanted: NetworkUpdate) -> None:
        self.asked.append(("update", ref, wanted))

    async def remove(self, ref: str) -> None:
        await self.view(ref)

    async def prune(self, keep: Callable[[NetworkView], bool]) -> list[str]:
        return [v.network.name for v in self.all if not v.network.predefined and not v.endpoints and not keep(v)]

    async def connect(self, ref: str, container: str, settings: EndpointSettings) -> None:
        self.asked.append(("connect", ref, container, settings))

    async def disconnect(self, ref: str, container: str, *, force: bool) -> None:
        self.asked.append(("disconnect", ref, container, force))

    async def unlink(self, ref: str) -> None:
        self.asked.append(("unlink", ref))

    def nat_table(self) -> list[dict[str, Any]]:
        return [{"chain": "POSTROUTING", "target": "MASQUERADE", "source": "172.17.0.0/16"}]

    async def nat_ruleset(self) -> str:
        return "table ip linkspan {}\n"


class FakePublishing:
    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []

    async def publish(self, ref: str, bindings: Any) -> Republished:
        self.asked.append(("publish", ref, bindings))
        binding = Binding(protocol="tcp", address="0.0.0.0", port=8080, container_port=80)
        return Republished((binding,), ("a warning",))

    async def withdraw(self, ref: str, wanted: Sequence[Withdrawal]) -> Republished:
        self.asked.append(("unpublish", ref, list(wanted)))
        return Republished(())


class FakeImages:
    def __init__(self, daemon: FakeDaemon) -> None:
        self.asked: list[tuple[Any, ...]] = []
        self.logins: list[tuple[str, str, str]] = []

    def view(self, ref: str) -> ImageView:
        if ref in ("mysql", "mysql:latest", "docker.io/library/mysql", IMAGE) or IMAGE[7:].startswith(ref):
            return ImageView(image(), 2)
        raise NotFound(f"No such image: {ref}")

    def views(self) -> list[ImageView]:
        return [ImageView(image(), 2)]

    async def pull(self, name: str, tag: str, *, platform: str, auth: str) -> AsyncIterator[Progress]:
        self.asked.append(("pull", name, tag, platform, auth))
        if name == "absent":
            raise NotFound("pull access denied for absent, repository does not exist or may require 'docker login'")
        yield {"status": f"Pulling from {name}", "id": tag}
        if name == "torn":
            raise InvalidArgument("the registry hung up")
        yield {"status": f"Status: Downloaded newer image for {name}:{tag}"}

    async def push(self, name: str, tag: str, *, auth: str) -> AsyncIterator[Progress]:
        yield {"status": f"The push refers to repository [{name}]"}

    async def load(self, body: AsyncIterator[bytes], *, quiet: bool) -> AsyncIterator[Progress]:
        size = 0
        async for piece in body:
            size += len(piece)
        yield {"stream": f"Loaded {size} bytes\n"}

    async def import_(self, body: AsyncIterator[bytes], **options: Any) -> AsyncIterator[Progress]:
        size = sum([len(piece) async for piece in body])
        self.asked.append(("import", size, options))
        yield {"status": IMAGE}

    async def save(self, refs: list[str]) -> AsyncIterator[bytes]:
        yield b"tar of " + ",".join(refs).encode()

    async def tag(self, ref: str, repo: str, tag: str) -> None:
        self.asked.append(("tag", ref, repo, tag))

    async def remove(self, ref: str, *, force: bool, prune: bool) -> list[dict[str, str]]:
        self.view(ref)
        return [{"Untagged": ref}]

    async def prune(self, drop: Callable[[ImageView], bool]) -> tuple[list[dict[str, str]], int]:
        return [], 0

    async def login(self, server: str, username: str, password: str) -> str:
        self.logins.append((server, username, password))
        return "Login Succeeded"


class FakeVolumes:
    def __init__(self, daemon: FakeDaemon) -> None:
        self.all = {"data": VolumeView(Volume(name="data", created=CREATED, mountpoint="/v/data/_data"), (WEB,))}

    def view(self, name: str) -> VolumeView:
        if name not in self.all:
            raise NotFound(f"get {name}: no such volume")
        return self.all[name]

    def views(self) -> list[VolumeView]:
        return list(self.all.values())

    async def create(
        self, name: str, *, driver: str, labels: Mapping[str, str], options: Mapping[str, str]
    ) -> VolumeView:
        made = Volume(name=name or "99" * 32, created=CREATED, mountpoint="/v", labels=labels, options=options)
        return self.all.setdefault(made.name, VolumeView(made, ()))

    async def remove(self, name: str, *, force: bool) -> None:
        del self.all[self.view(name).volume.name]

    async def size(self, volume: Volume) -> int:
        return 4096

    async def prune(self, keep: Callable[[VolumeView], bool]) -> tuple[list[str], int]:
        return [v.volume.name for v in self.all.values() if not v.used_by and not keep(v)], 0


class FakeSystem:
    def __init__(self) -> None:
        self.happened = [
            Event(
                kind="container",
                action="start",
                id=WEB,
                attributes={"name": "web", "image": "mysql"},
                time=time.time_ns(),
            ),
            Event(kind="network", action="connect", id=BRIDGE, attributes={"container": WEB}, time=time.time_ns()),
        ]
        self.closed = asyncio.Event()

    async def info(self) -> dict[str, Any]:
        return {"ID": "x", "Name": "here", "OSType": "linux", "Swarm": {"LocalNodeState": "inactive"}, "NCPU": 2}

    async def version(self) -> dict[str, Any]:
        return {
            "Version": "0.1.0",
            "Os": "linux",
            "Arch": "amd64",
            "GitCommit": "x",
            "GoVersion": "",
            "Components": [{"Name": "Engine", "Version": "0.1.0", "Details": {}}],
        }

    async def events(self, *, since: float, until: float, wanted: Callable[[Event], bool]) -> AsyncIterator[Event]:
        try:
            for event in self.happened:
                if wanted(event):
                    yield event
            if not until:
                await asyncio.Event().wait()
        finally:
            self.closed.set()


class FakeDaemon:
    containers: FakeContainers
    networks: FakeNetworks
    publishing: FakePublishing
    images: FakeImages
    volumes: FakeVolumes
    system: FakeSystem

    def __init__(self) -> None:
        self.containers = FakeContainers(self)
        self.networks = FakeNetworks(self)
        self.publishing = FakePublishing()
        self.images = FakeImages(self)
        self.volumes = FakeVolumes(self)
        self.system = FakeSystem()


def image() -> Image:
    return Image(
        id=IMAGE,
        tags=("mysql:latest",),
        digests=("mysql@sha256:" + "17" * 32,),
        created=CREATED,
        size=12345,
        layers=("/layers/1",),
        layer_sizes=(12345,),
        config=ImageConfig(cmd=("mysqld",), exposed_ports={"3306/tcp": {}, "33060/tcp": {}}),
        diff_ids=("sha256:" + "88" * 32,),
        history=(
            HistoryEntry(created=CREATED, created_by="ADD rootfs"),
            HistoryEntry(created=CREATED, created_by="CMD mysqld", empty_layer=True),
        ),
    )


def bridge() -> Network:
    pool = Pool(subnet="172.17.0.0/16", gateway="172.17.0.1")
    return Network(id=BRIDGE, name="bridge", driver="bridge", created=CREATED, pools=(pool,), bridge="docker0")


def app() -> Network:
    pool = Pool(subnet="172.18.0.0/16", gateway="172.18.0.1")
    return Network(id=APP, name="app", driver="bridge", created=CREATED, pools=(pool,), labels={"tier": "app"})


def web() -> ContainerView:
    container = Container(
        id=WEB,
        name="web",
        created=CREATED,
        image_id=IMAGE,
        config=Config(
            image="mysql",
            hostname=WEB[:12],
            labels={"role": "db", "stage": "test"},
            cmd=("mysqld",),
            exposed_ports={"3306/tcp": {}, "33060/tcp": {}},
            open_stdin=True,
        ),
        host_config=HostConfig(network_mode="bridge"),
        networks={APP: EndpointSettings(aliases=("db",))},
        path="docker-entrypoint.sh",
        args=("mysqld", "--some option"),
        mounts=(
            Mount(type="volume", name="data", source="/v/data/_data", destination="/var/lib/mysql", driver="local"),
        ),
        state=State(status="running", pid=42, started_at=CREATED),
    )
    first = Endpoint(
        id="11" * 32,
        network_id=BRIDGE,
        sandbox_id="22" * 32,
        container_id=WEB,
        interface="eth0",
        mac="02:42:ac:11:00:02",
        address="172.17.0.2",
        prefix_length=16,
        gateway="172.17.0.1",
        bindings=(Binding(protocol="tcp", address="0.0.0.0", port=3306, container_port=3306),),
        exposed=("3306/tcp", "33060/tcp"),
    )
    second = Endpoint(
        id="33" * 32,
        network_id=APP,
        sandbox_id="22" * 32,
        container_id=WEB,
        interface="eth1",
        mac="02:42:ac:12:00:02",
        address="172.18.0.2",
        prefix_length=16,
        gateway="172.18.0.1",
    )
    sandbox = Sandbox(id="22" * 32, container_id=WEB, kind="own", path="/var/run/docker/netns/222222222222")
    places = (Attachment(bridge(), first), Attachment(app(), second))
    return ContainerView(container, sandbox, places, image(), "/log", "/hosts", "/hostname", "/resolv.conf")


def job() -> ContainerView:
    container = Container(
        id=JOB,
        name="job",
        created="2026-01-02T03:04:06.000000000Z",
        image_id=IMAGE,
        config=Config(image="mysql", cmd=("true",), tty=True),
        host_config=HostConfig(network_mode=f"container:{WEB}"),
        path="true",
        state=State(status="exited", exit_code=3, started_at=CREATED, finished_at=CREATED),
    )
    return ContainerView(container, None, (), image(), "", "", "", "")
