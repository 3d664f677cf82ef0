"""Test hosts: network namespaces joined by a fabric, and a check that a test left nothing behind.

Nothing here touches the machine's own network. A host's sockets are opened by a thread that is in the host meanwhile;
a socket stays where it was opened, so one process can hold both ends of a connection.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import ctypes
import itertools
import json
import os
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

T = TypeVar("T")
_libc = ctypes.CDLL(None, use_errno=True)
_CLONE_NEWNET = 0x40000000
_numbers = itertools.count()

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


class Host:
    """A namespace of its own, with a thread in it."""

    def __init__(self, name: str) -> None:
        self.name = f"lst{os.getpid()}-{next(_numbers)}-{name}"
        self.path = f"/run/netns/{self.name}"
        subprocess.run(["ip", "netns", "add", self.name], check=True)
        self.thread = concurrent.futures.ThreadPoolExecutor(1, initializer=enter, initargs=(self.path,))
        self.run("ip", "link", "set", "lo", "up")

    def call(self, function: Callable[..., T], *arguments: Any, **options: Any) -> T:
        """The function's result, called in the host's thread."""
        return self.thread.submit(function, *arguments, **options).result(timeout=60)

    def run(self, *command: str, check: bool = True, stdin: str | None = None) -> str:
        """A command's output, run in the host."""
        done = subprocess.run(["nsenter", f"--net={self.path}", *command], text=True, capture_output=True, input=stdin)
        assert not check or done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
        return done.stdout

    def json(self, *command: str) -> Any:
        return json.loads(self.run(*command) or "[]")

    def close(self) -> None:
        self.thread.shutdown()
        subprocess.run(["ip", "netns", "del", self.name], check=True)


def enter(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if _libc.setns(descriptor, _CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), f"setns {path}")
    finally:
        os.close(descriptor)


def socket_in(
    path: str, kind: int = socket.SOCK_STREAM, family: int = socket.AF_INET, protocol: int = 0
) -> socket.socket:
    """A socket of the namespace at `path`, IPv4 unless said otherwise, with a timeout of a second."""

    def make() -> socket.socket:
        enter(path)
        made = socket.socket(family, kind, protocol)
        made.settimeout(1)
        return made

    with concurrent.futures.ThreadPoolExecutor(1) as thread:
        return thread.submit(make).result()


@contextlib.contextmanager
def hosts(**addresses: str) -> Iterator[dict[str, Host]]:
    """Hosts by name, each with its address (`10.211.55.4/24`) on eth0, joined by a fabric; nothing is left of them."""
    before = traces()
    with contextlib.ExitStack() as stack:
        fabric = Host("fabric")
        stack.callback(fabric.close)
        fabric.run("ip", "link", "add", "fabric0", "type", "bridge")
        fabric.run("ip", "link", "set", "fabric0", "up")
        made: dict[str, Host] = {}
        for name, address in addresses.items():
            host = made[name] = Host(name)
            stack.callback(host.close)
            # An interface's own IPv6 address is there at once, instead of after a second of probing.
            host.run("sysctl", "-qw", "net.ipv6.conf.default.accept_dad=0", check=False)
            port = f"p{len(made)}"
            fabric.run(
                "ip", "link", "add", port, "master", "fabric0", "up", "type", "veth", "peer", "eth0", "netns", host.name
            )
            host.run("ip", "link", "set", "eth0", "up")
            host.run("ip", "address", "add", address, "dev", "eth0")
        yield made
    assert traces() == before


def traces() -> tuple[object, ...]:
    """What a test could leave on the machine: links, namespaces, mounts of namespaces, nft tables."""
    links = {entry["ifname"] for entry in json.loads(subprocess.check_output(["ip", "-j", "link"]))}
    namespaces = {entry.name for entry in Path("/run/netns").glob(f"lst{os.getpid()}-*")}
    mounts = {line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines() if "pytest" in line}
    tables = "table inet linkspan" in subprocess.check_output(["nft", "list", "tables"], text=True)
    return links, namespaces, mounts, tables
