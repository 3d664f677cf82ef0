"""The hosts of the tests, the program on each, and pods: namespaces behind a bridge as subnet.env says."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from demo.etcd import Members
from demo.etcd import place as etcd_place
from demo.hosts import Fabric, Host

from tests.hosts import socket_in

ADDRESSES = {"h1": "10.211.55.4", "h2": "10.211.55.5", "h3": "10.211.55.6"}
OUTSIDE = "10.211.55.9"
NETWORK = "10.5.0.0/16"
PROGRAM = Path(sys.executable).parent / "linkspan"


class Node:
    """A host. `space` is its network namespace."""

    def __init__(self, folder: Path, host: Host, address: str, etcd: str) -> None:
        self.folder, self.host, self.address = folder, host, address
        folder.mkdir(parents=True)
        self.space = f"/proc/{host.pid}/ns/net"
        self.subnet_file = folder / "subnet.env"
        self.log = folder / "log"
        self._etcd = etcd
        self._process: subprocess.Popen[bytes] | None = None
        self.flags: tuple[str, ...] = ()

    def command(self, *flags: str) -> list[str]:
        run_dir = str(self.folder / "run")
        files = ("--subnet-file", str(self.subnet_file), "--run-dir", run_dir)
        return [str(PROGRAM), "flannel", "--etcd-endpoints", self._etcd, *files, *flags]

    def start(self, *flags: str) -> None:
        """Returns once it is ready."""
        self.flags = flags
        seen = self.log.stat().st_size if self.log.exists() else 0
        environment = {"PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin"}
        self._process = self.host.start(self.command(*flags), log=self.log, env=environment)
        until(lambda: self._ready(seen), "it is ready", 20)

    def _ready(self, seen: int) -> bool:
        assert self._process is not None
        said = self.log.read_bytes()[seen:].decode(errors="replace")
        assert self._process.poll() is None, said
        return "flannel is ready" in said

    def run(self, *flags: str) -> subprocess.CompletedProcess[str]:
        """The program to its end."""
        return self.host.run(self.command(*flags), check=False)

    @property
    def pid(self) -> int:
        assert self._process is not None
        return int(Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()[0])

    @property
    def running(self) -> bool:
        return self._process is not None

    def end(self, number: int = signal.SIGTERM) -> None:
        assert self._process is not None
        if self._process.poll() is None:
            os.kill(self.pid, number)
        self._process.wait(20)
        self._process = None

    @property
    def settings(self) -> dict[str, str]:
        lines = self.subnet_file.read_text().splitlines()
        return dict(line.split("=", 1) for line in lines)

    @property
    def subnet(self) -> str:
        return re.sub(r"1/", "0/", self.settings["FLANNEL_SUBNET"])

    def ip(self, *arguments: str) -> Any:
        return json.loads(self.host.run(["ip", "-j", *arguments]).stdout or "[]")

    def routes(self) -> dict[str, dict[str, Any]]:
        """Those to the network's other subnets."""
        return {route["dst"]: route for route in self.ip("route") if route["dst"].startswith("10.5.")}

    def clear(self) -> Iterator[str]:
        """Takes away what it has made; what is left all the same."""
        self.drop_pod()
        if self.running:
            self.end()
        if self.flags and (done := self.run(*self.flags, "--remove")).returncode:
            yield f"{self.host.name}: --remove: {done.stderr}"
        self.flags = ()
        if (links := {item["ifname"] for item in self.ip("link")}) != {"lo", "eth0"}:
            yield f"{self.host.name}: links {links}"
        if self.routes() or self.subnet_file.exists():
            yield f"{self.host.name}: routes {self.routes()}, {self.subnet_file.exists()=}"
        if "elements" in self.host.run(["nft", "list", "ruleset"]).stdout:
            yield f"{self.host.name}: elements of the firewall"
        if self.log.exists() and "Traceback" in self.log.read_text():
            yield self.log.read_text()
        if self.host.run(["pgrep", "-f", "tunnel/process.py"], check=False).stdout:
            yield f"{self.host.name}: a tunnel's process"

    # -- a pod

    def make_pod(self) -> None:
        """The bridge of a Docker, and a container on it."""
        gateway, mtu = self.settings["FLANNEL_SUBNET"], self.settings["FLANNEL_MTU"]
        address = gateway.replace(".1/", ".2/")
        for line in (
            f"link add cbr0 mtu {mtu} type bridge",
            "link set cbr0 up",
            f"address add {gateway} dev cbr0",
            "netns add pod",
            f"link add pod0 mtu {mtu} master cbr0 up type veth peer name eth0 mtu {mtu} netns pod",
            "-n pod link set lo up",
            "-n pod link set eth0 up",
            f"-n pod address add {address} dev eth0",
            f"-n pod route add default via {gateway.partition('/')[0]}",
        ):
            self.host.run(["ip", *line.split()])

    def drop_pod(self) -> None:
        for line in ("netns del pod", "link del cbr0"):
            self.host.run(["ip", *line.split()], check=False)

    @property
    def pod(self) -> str:
        """The pod's address."""
        return self.settings["FLANNEL_SUBNET"].partition("/")[0].removesuffix("1") + "2"

    @property
    def pod_space(self) -> str:
        return f"/proc/{self.host.pid}/root/run/netns/pod"


class Field:
    """All of it. Called from the main thread: the kernel ends hosts with the thread that makes them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.fabric = Fabric()
        store = self.fabric.plug("store", "10.211.55.8/24")
        self.etcd = Members([etcd_place(store, "10.211.55.8")], folder / "etcd")
        self.etcd.start()
        self.nodes: dict[str, Node] = {}
        for name, address in ADDRESSES.items():
            host = self.fabric.plug(name, f"{address}/24")
            host.run(["ip", "route", "add", "default", "via", OUTSIDE])
            host.run(["mount", "-t", "tmpfs", "tmpfs", "/run/netns"])  # names of its own
            self.nodes[name] = Node(folder / name, host, address, "http://10.211.55.8:2379")
        self.outside = self.fabric.plug("outside", f"{OUTSIDE}/24")
        self.there = f"/proc/{self.outside.pid}/ns/net"
        self._number = 0
        self.prefix = ""

    def __getitem__(self, name: str) -> Node:
        return self.nodes[name]

    def __iter__(self) -> Iterator[Node]:
        return iter(self.nodes.values())

    def configure(self, backend: dict[str, object], **more: object) -> None:
        """A network of its own under a prefix of its own."""
        self._number += 1
        self.prefix = f"/test{self._number}/network"
        config = {"Network": NETWORK, **more, "Backend": backend}
        self.etcd.ctl("put", f"{self.prefix}/config", json.dumps(config))

    def start(self, *flags: str, pods: bool = True) -> None:
        for node in self:
            node.start("--etcd-prefix", self.prefix, *flags)
            if pods:
                node.make_pod()
        self.settle()

    def settle(self) -> None:
        """Until every host has heard of the others."""
        keys = [key.rpartition("/")[2].partition("&")[0] for key in self.leases()]
        for node in self:
            others = {key.replace("-", "/") for key in keys} - {node.subnet}
            until(functools.partial(_reaches, node, others), "routes to the others")

    def leases(self) -> list[str]:
        return self.etcd.ctl("get", "--prefix", f"{self.prefix}/subnets/", "--keys-only").split()

    def value(self, subnet: str) -> str:
        return self.etcd.ctl("get", f"{self.prefix}/subnets/{subnet.replace('/', '-')}", "--print-value-only").strip()

    def clear(self) -> None:
        """Everything gone, as after `--remove`; asserts that nothing is left."""
        wrong = [words for node in self for words in node.clear()]
        if left := self.leases():
            wrong.append(f"etcd: {left}")
            self.etcd.ctl("del", "--prefix", f"{self.prefix}/subnets/")
        assert not wrong, wrong

    def close(self) -> None:
        self.fabric.end()
        self.etcd.end()
        shutil.rmtree(self._folder)


def _reaches(node: Node, others: set[str]) -> bool:
    """One route for all of them where packets go to a process (udp)."""
    return "flannel0" in {item["ifname"] for item in node.ip("link")} or others <= set(node.routes())


def until(holds: Callable[[], object], what: str, within: float = 10) -> None:
    deadline = time.monotonic() + within
    while not holds():
        assert time.monotonic() < deadline, f"not within {within} s: {what}"
        time.sleep(0.02)


# --- traffic

_SENDER = 40  # bytes for an address


def _family(address: str) -> int:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


@contextlib.contextmanager
def echoes(space: str, address: str, port: int = 7) -> Iterator[None]:
    """Whatever comes to a TCP or UDP port goes back: over UDP with the sender's address before it."""
    family = _family(address)
    listener, datagrams = socket_in(space, family=family), socket_in(space, socket.SOCK_DGRAM, family)
    for each in (listener, datagrams):
        each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        each.bind((address, port))
        each.settimeout(None)
    listener.listen()

    def stream() -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = listener.accept()
                with client:
                    client.settimeout(5)
                    while data := client.recv(65536):
                        client.sendall(data)

    def datagram() -> None:
        while True:
            data, peer = datagrams.recvfrom(65536)
            if data == b"end":
                return
            with contextlib.suppress(OSError):
                datagrams.sendto(peer[0].encode().ljust(_SENDER) + data[_SENDER:], peer)

    threads = [threading.Thread(target=work, daemon=True) for work in (stream, datagram)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        with socket_in(space, socket.SOCK_DGRAM, family) as last:
            last.sendto(b"end", (address, port))
        for thread in threads:
            thread.join(5)
        listener.close()
        datagrams.close()


def udp(space: str, address: str, size: int = 100, port: int = 7, *, whole: bool = False, tries: int = 3) -> str:
    """The sender's address as the echo sees it; "" without an answer. `whole`: as one packet of `size` with headers."""
    with socket_in(space, socket.SOCK_DGRAM, _family(address)) as client:
        client.settimeout(1)
        if whole:
            client.setsockopt(socket.IPPROTO_IP, 10, 2)  # IP_MTU_DISCOVER, IP_PMTUDISC_DO
            size -= 28
        data = os.urandom(size)
        for _ in range(tries):
            try:
                client.sendto(data, (address, port))
                answer = client.recv(65536)
            except OSError:
                continue
            assert answer[_SENDER:] == data[_SENDER:]
            return answer[:_SENDER].decode().strip()
    return ""


def tcp(space: str, address: str, size: int = 1 << 20, port: int = 7) -> bool:
    """Whether as many bytes go there and come back."""
    with socket_in(space, family=_family(address)) as client:
        client.settimeout(10)
        try:
            client.connect((address, port))
        except OSError:
            return False
        data = os.urandom(size)

        def send() -> None:
            client.sendall(data)
            client.shutdown(socket.SHUT_WR)

        sender = threading.Thread(target=send)
        sender.start()
        back = bytearray()
        while piece := client.recv(1 << 16):
            back += piece
        sender.join()
        return bytes(back) == data
