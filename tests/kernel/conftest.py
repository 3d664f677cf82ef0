"""A kernel, the fake and the real one, for tests that both have to pass."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from linkspan.kernel.contract import Interface, Kernel
from linkspan.kernel.fake import FakeKernel
from linkspan.kernel.linux import LinuxKernel
from linkspan.state.objects import (
    HOST,
    Address,
    BoundPort,
    Bridge,
    KernelObject,
    Namespace,
    NftElement,
    Route,
    State,
    Sysctl,
    Veth,
)
from linkspan.state.plan import Plan, diff
from tests.hosts import Host, hosts


class OnItsThread:
    """A kernel whose every call is made in the host's thread."""

    def __init__(self, host: Host, kernel: LinuxKernel) -> None:
        self._host, self._kernel = host, kernel

    def __getattr__(self, name: str) -> Any:
        return lambda *arguments, **options: self._host.call(getattr(self._kernel, name), *arguments, **options)


@dataclasses.dataclass
class World:
    kernel: Kernel
    folder: str
    host: Host | None = None

    def network(self, name: str = "docker0", subnet: str = "172.17.0", mtu: int = 1500) -> list[KernelObject]:
        return [
            Bridge(name, f"linkspan:{name}", mtu, "02:42:00:00:00:01"),
            Address(HOST, name, f"{subnet}.1/16"),
            Sysctl(HOST, f"net/ipv4/conf/{name}/route_localnet", "1"),
            NftElement("bridges", f'ipv4 . "{name}"', "", "net"),
            NftElement("closed", f'ipv4 . "{name}"', "", "net"),
            NftElement("same_bridge", f'ipv4 . "{name}" . "{name}"', "", "net"),
            NftElement("icc", f'ipv4 . "{name}" . "{name}"', "", "net"),
            NftElement("masqueraded", f"{subnet[:-2]}.0.0/16", "", "net"),
        ]

    def endpoint(self, number: int, port: int = 0, bridge: str = "docker0", mtu: int = 1500) -> list[KernelObject]:
        path = f"{self.folder}/c{number}"
        return [
            Namespace(path),
            Veth(f"veth{number}", f"linkspan:{number}", path, "eth0", f"02:42:ac:11:00:{number:02x}", bridge, mtu),
            Address(path, "eth0", f"172.17.0.{number}/16"),
            Route(path, "0.0.0.0/0", "eth0", "172.17.0.1"),
            *self.published(number, port or 8000 + number),
        ]

    def published(self, number: int, port: int) -> list[KernelObject]:
        return [
            BoundPort("tcp", "0.0.0.0", port),
            NftElement("published", f"tcp . {port}", f"172.17.0.{number} . 80", f"{number}"),
            NftElement("published_at", f"127.0.0.1 . udp . {port}", f"172.17.0.{number} . 53", f"{number}"),
        ]

    def reach(self, before: State, desired: State) -> None:
        self.kernel.apply(diff(before, desired))
        self.expect(desired)

    def expect(self, desired: State) -> None:
        assert diff(self.read(desired), desired) == Plan()

    def interface_names(self) -> list[str]:
        return [item.name for item in self.kernel.interfaces()]

    def read(self, desired: State) -> State:
        return self.kernel.read([(item.namespace, item.name) for item in desired.values() if isinstance(item, Sysctl)])


on_linux = pytest.mark.parametrize("world", [pytest.param("linux", marks=pytest.mark.root)], indirect=True)


@pytest.fixture(params=["fake", pytest.param("linux", marks=pytest.mark.root)])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    folder = tmp_path / "netns"
    if request.param == "fake":
        eth0 = Interface(2, "eth0", "", "02:00:00:00:00:01", 1500, True, False, addresses=("10.211.55.4/24",))
        yield World(FakeKernel(host=[eth0]), str(folder))
        return
    if os.geteuid() != 0:
        pytest.skip("needs root")
    with hosts(main="10.211.55.4/24") as made:
        host = made["main"]
        kernel = host.call(LinuxKernel, folder)
        try:
            yield World(OnItsThread(host, kernel), str(folder), host)  # type: ignore[arg-type]
        finally:
            host.call(kernel.apply, diff(host.call(kernel.read), {}))
            host.call(kernel.close)
        assert [entry["ifname"] for entry in host.json("ip", "-j", "link")] == ["lo", "eth0"]
        assert list(folder.iterdir()) == []
