"""Hosts with a BIRD that a keeper looks after, and routers of others: FRR and GoBGP, each in a namespace of its own.

The hosts' records are the test's own; what stands for their containers are addresses of the hosts themselves.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

from linkspan.daemon.bgp.keeper import Keeper
from linkspan.daemon.bgp.status import BgpView
from linkspan.daemon.programmer import Programmer
from linkspan.kernel.linux import LinuxKernel
from linkspan.model.snapshot import Record, Snapshot, put
from tests.bgp import records
from tests.hosts import Host, enter, hosts

FRR = Path("/usr/lib/frr")
TOR, TOR2 = "10.211.55.9", "10.211.55.10"  # routers on top of the rack
CLIENT = "192.0.2.10"  # a machine behind the first one
PROGRAMS = {"bird": "/usr/sbin/bird", "FRR": f"{FRR}/bgpd", "GoBGP": "/usr/bin/gobgpd"}
MISSING = [name for name, path in PROGRAMS.items() if shutil.which(path) is None]


def until(holds: Callable[[], object], what: str, within: float = 20) -> float:
    """Waits until it holds; the seconds that it took."""
    began = time.monotonic()
    while not holds():
        assert time.monotonic() - began < within, f"not within {within:.0f} s: {what}"
        time.sleep(0.05)
    return time.monotonic() - began


class Speaker:
    """A host with its keeper, which may be let go and made anew as a daemon is."""

    def __init__(self, name: str, host: Host, folder: Path, mode: str = "bird") -> None:
        self.name, self.host, self.folder, self.mode = name, host, folder, mode
        folder.mkdir()
        self.snapshot = records.snapshot(name)
        self.labels: dict[str, str] = {}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._live)
        self._thread.start()
        self._programmer: Programmer | None = None
        self.keeper: Keeper | None = None

    def _live(self) -> None:
        enter(self.host.path)
        self._loop.run_forever()

    def _call(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    def start(self) -> None:
        async def start() -> None:
            self._programmer = Programmer(lambda: LinuxKernel(self.folder / "netns"))
            self.keeper = Keeper(
                self.mode,
                self.folder / "bgp",
                self.folder / "secrets",
                lambda: records.host(self.name, self.labels),
                now=lambda: self.snapshot,
                run=self._programmer.run,
            )
            self.keeper.start()

        self._call(start())

    def let_go(self) -> None:
        """As a daemon that ends."""

        async def let_go() -> None:
            assert self.keeper and self._programmer
            await self.keeper.close()
            self._programmer.close()

        if self.keeper:
            self._call(let_go())
            self.keeper = None

    def set(self, snapshot: Snapshot) -> None:
        async def follow() -> None:
            assert self.keeper
            before, self.snapshot = self.snapshot, snapshot
            self.keeper.follow(before, snapshot)

        self._call(follow())

    def add(self, *more: Record) -> None:
        self.set(self.snapshot.after([*map(put, more)]))

    def view(self) -> BgpView:
        assert self.keeper
        found: BgpView = self._call(self.keeper.view())
        return found

    def peers(self) -> list[str]:
        """Those with whom there is a session by IPv4."""
        sessions = self.view().sessions
        return [s.neighbour.said for s in sessions if s.session and s.session.up and s.neighbour.version == 4]

    def routes(self, protocol: str = "bird", version: int = 4) -> dict[str, str]:
        """Where to, and by whom; "several" where there is more than one way."""
        found = self.host.json("ip", f"-{version}", "-j", "route", "show", "proto", protocol)
        return {route["dst"]: route.get("gateway", "several") for route in found}

    @property
    def pid(self) -> int:
        """BIRD's."""
        assert self.keeper
        running = self.keeper.bird.now()
        assert running
        return running.pid

    def end(self) -> None:
        """Nothing of it is left, BIRD neither."""
        if self.keeper:
            self.set(Snapshot())
            until(lambda: not (self.folder / "bgp" / "bird.conf").exists(), f"BIRD of {self.name} has ended")
            self.let_go()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


class Router:
    """Programs of others in a host. `folder` is short, as sockets lie in it."""

    def __init__(self, host: Host, folder: Path) -> None:
        self.host, self.folder = host, folder
        folder.mkdir()
        self._running: list[subprocess.Popen[bytes]] = []
        host.run("sysctl", "-qw", "net.ipv4.ip_forward=1")

    def _start(self, *command: str) -> subprocess.Popen[bytes]:
        with (self.folder / f"{Path(command[0]).name}.log").open("ab") as log:
            process = subprocess.Popen(
                ["nsenter", f"--net={self.host.path}", *command], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        self._running.append(process)
        return process

    def frr(self, configuration: str) -> None:
        """zebra and bgpd."""
        self.zebra()
        (self.folder / "frr.conf").write_text(configuration)
        self._frr("bgpd", "-f", str(self.folder / "frr.conf"))

    def zebra(self) -> None:
        shutil.chown(self.folder, "frr", "frr")  # whom they become
        (self.folder / "zebra.conf").touch()
        self._frr("zebra", "-f", str(self.folder / "zebra.conf"))
        until((self.folder / "zserv").exists, "zebra listens")

    def _frr(self, program: str, *more: str) -> None:
        places = ("-i", f"{self.folder}/{program}.pid", "-z", f"{self.folder}/zserv", "--vty_socket", str(self.folder))
        self._start(f"{FRR}/{program}", "-A", "127.0.0.1", "-P", "0", *places, *more)
        until((self.folder / f"{program}.vty").exists, f"{program} listens")

    def vtysh(self, *commands: str) -> str:
        words = [word for command in commands for word in ("-c", command)]
        return self.host.run("vtysh", "--vty_socket", str(self.folder), *words)

    def gobgp(self, configuration: str) -> None:
        """gobgpd."""
        path = self.folder / "gobgpd.toml"
        path.write_text(configuration)
        self._start("gobgpd", "-f", str(path), "--api-hosts", "127.0.0.1:50051", "--pprof-disable")

    def ask(self, *words: str) -> str:
        """gobgp's answer, "" where there is none yet."""
        return self.host.run("gobgp", *words, check=False)

    def end(self) -> None:
        for process in self._running:
            process.kill()
            process.wait(10)
        self._running.clear()
        shutil.rmtree(self.folder)
        self.folder.mkdir()


class Lab:
    def __init__(self, places: dict[str, Host], folder: Path) -> None:
        self.folder, self.places = folder, places
        self.speakers = {name: Speaker(name, places[name], folder / name) for name in records.NAMES}
        self.router, self.other = Router(places["tor"], folder / "r"), Router(places["tor2"], folder / "o")

    def __getitem__(self, name: str) -> Speaker:
        return self.speakers[name]

    def add(self, *more: Record) -> None:
        for speaker in self.speakers.values():
            speaker.add(*more)

    def reached(self, name: str, other: str, address: str) -> bool:
        return answers(self.places[name], self.places[other], address)


def answers(host: Host, there: Host, address: str, source: str = "") -> bool:
    """Whether a packet from the host gets to an address in another, and back."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with host.call(_udp, family) as client, there.call(_udp, family) as server:
        server.bind((address, 5001))
        if source:
            client.bind((source, 0))
        try:
            client.sendto(b"x", (address, 5001))
            data, peer = server.recvfrom(64)
            server.sendto(data, peer)
            return bool(client.recv(64) == data)
        except OSError:
            return False


class Flow:
    """One packet every few milliseconds, each answered or not, for as long as it is open, a minute at most."""

    def __init__(self, here: Host, there: Host, address: str) -> None:
        self._client, self._server = here.call(_udp), there.call(_udp)
        self._server.bind((address, 5000))
        self._address = address
        self.sent, self.answered = 0, 0
        self._enough, self._over = threading.Event(), threading.Event()
        self._threads = [threading.Thread(target=work) for work in (self._answer, self._count, self._send)]

    def __enter__(self) -> Flow:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._enough.set()
        self._threads.pop().join()
        with contextlib.suppress(AssertionError):  # what is still on its way
            until(lambda: self.answered == self.sent, "", 1)
        self._over.set()
        for thread in self._threads:
            thread.join()
        self._client.close()
        self._server.close()

    def _send(self) -> None:
        while self.sent < 12_000 and not self._enough.is_set():
            with contextlib.suppress(OSError):  # there is no way just now
                self._client.sendto(b"x", (self._address, 5000))
            self.sent += 1
            time.sleep(0.005)

    def _answer(self) -> None:
        while not self._over.is_set():
            with contextlib.suppress(TimeoutError):
                data, peer = self._server.recvfrom(64)
                self._server.sendto(data, peer)

    def _count(self) -> None:
        while not self._over.is_set():
            with contextlib.suppress(TimeoutError):
                self._client.recv(64)
                self.answered += 1


def _udp(family: int = socket.AF_INET) -> socket.socket:
    made = socket.socket(family, socket.SOCK_DGRAM)
    made.settimeout(0.3)
    return made


@contextlib.contextmanager
def lab(folder: Path) -> Iterator[Lab]:
    addresses = {name: f"10.211.55.{4 + index}/24" for index, name in enumerate(records.NAMES)}
    with hosts(**addresses, tor=f"{TOR}/24", tor2=f"{TOR2}/24") as places, contextlib.ExitStack() as stack:
        client = Host("client")
        stack.callback(client.close)
        _behind(places["tor"], client)
        for index, name in enumerate(records.NAMES):
            places[name].run("ip", "address", "add", f"fd55::{4 + index}/64", "dev", "eth0")
            for address in (f"10.65.{index + 1}.5/32", f"fd65::{index + 1}05/128"):
                places[name].run("ip", "address", "add", address, "dev", "lo")
        places["client"] = client
        made = Lab(places, folder)
        for speaker in made.speakers.values():
            stack.callback(speaker.end)
        for router in (made.router, made.other):
            stack.callback(router.end)
        yield made


def _behind(router: Host, client: Host) -> None:
    router.run("ip", "link", "add", "down0", "type", "veth", "peer", "eth0", "netns", client.name)
    router.run("ip", "address", "add", "192.0.2.1/24", "dev", "down0")
    router.run("ip", "link", "set", "down0", "up")
    client.run("ip", "address", "add", f"{CLIENT}/24", "dev", "eth0")
    client.run("ip", "link", "set", "eth0", "up")
    client.run("ip", "route", "add", "default", "via", "192.0.2.1")


def kill(pid: int) -> None:
    os.kill(pid, 9)
