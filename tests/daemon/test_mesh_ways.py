"""What babeld says, read; routes of one that was killed; which network is under the mesh; what is missing on a host."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from typing import Any

import pytest

from linkspan.daemon.mesh import fabric as fabric_module
from linkspan.daemon.mesh.babel import Neighbour, Way, Ways, ask, parse
from linkspan.daemon.mesh.fabric import MeshFabric
from linkspan.daemon.mesh.mending import steps
from linkspan.daemon.mesh.outer import Outer, find_outer
from linkspan.daemon.programmer import Programmer
from linkspan.errors import InvalidArgument, Unsupported
from linkspan.kernel.contract import Interface, RouteEntry
from linkspan.kernel.fake import FakeKernel
from linkspan.model.mesh import MeshIdentity
from linkspan.state.fabric import FabricFacts
from linkspan.state.objects import HOST, Sysctl, state_of
from linkspan.state.plan import diff

SAID = """\
add interface linkspan-mesh up true ipv6 fe80::647f:1 ipv4 100.127.0.1
add neighbour 55a address fe80::647f:2 if linkspan-mesh reach ff80 ureach 0000 rxcost 96 txcost 96 rtt 1.770 cost 96
add neighbour 55b address fe80::647f:3 if linkspan-mesh reach 0000 ureach 0000 rxcost 65535 txcost 96 cost 65535
add xroute 100.127.0.1/32-0.0.0.0/0 prefix 100.127.0.1/32 from 0.0.0.0/0 metric 0
add route 1 prefix 100.127.0.2/32 from 0.0.0.0/0 installed yes id 0c:27 metric 96 refmetric 0 via fe80::647f:2 if m
add route 2 prefix 100.127.0.2/32 from 0.0.0.0/0 installed no id 0c:27 metric 192 refmetric 96 via fe80::647f:3 if m
add route 3 prefix fd6c::3/128 from ::/0 installed yes id 0c:28 metric 192 refmetric 96 via fe80::647f:2 if m
flush neighbour 55b address fe80::647f:3
""".splitlines()


def test_what_babeld_says() -> None:
    assert parse(SAID) == Ways(
        (Neighbour("fe80::647f:2", 1.77, True), Neighbour("fe80::647f:3", 0.0, False)),
        (Way("100.127.0.2/32", "fe80::647f:2"), Way("fd6c::3/128", "fe80::647f:2")),
    )
    assert parse(["", "add", "add route", "what", "add route 1 prefix"]) == Ways()


def test_one_that_is_not_there_or_says_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("linkspan.daemon.mesh.babel._PATIENCE", 0.05)

    async def whole() -> None:
        assert await ask(tmp_path / "none") is None
        with socket.socket(socket.AF_UNIX) as mute:
            mute.bind(str(tmp_path / "mute"))
            mute.listen()
            assert await ask(tmp_path / "mute") is None

    asyncio.run(whole())


def test_routes_that_are_not_as_babeld_says() -> None:
    ways = Ways((), (Way("100.127.0.2/32", "fe80::647f:2"), Way("fd6c::3/128", "fe80::647f:2")))
    where = ("dev", "linkspan-mesh", "proto", "42")
    routes: list[dict[str, Any]] = [
        {"dst": "100.127.0.3", "gateway": "100.127.0.3"},
        {"dst": "fd6c::3", "gateway": "fe80::647f:3", "metric": 1024},
    ]
    missing = ("-4", "route", "replace", "100.127.0.2", "via", "100.127.0.2", *where, "onlink")
    other = ("-6", "route", "replace", "fd6c::3", "via", "fe80::647f:2", *where, "onlink")
    gone = ("-4", "route", "delete", "100.127.0.3", *where)
    assert [*steps(ways, routes, settled=False)] == [missing, other]
    assert [*steps(ways, routes, settled=True)] == [missing, other, gone]
    right = [{"dst": "100.127.0.2", "gateway": "100.127.0.2"}, {"dst": "fd6c::3", "gateway": "fe80::647f:2"}]
    assert not [*steps(ways, right, settled=True)]


def card(name: str, *addresses: str, **other: Any) -> Interface:
    return Interface(
        1, name, "", "", other.pop("mtu", 1500), other.pop("up", True), False, addresses=addresses, **other
    )


def test_the_network_under_the_mesh() -> None:
    storage, out = card("eth0", "10.0.0.1/24", mtu=9000), card("eth1", "fe80::1/64", "fd00::1/64", "10.1.0.1/24")
    ours = card("vx-1", "10.2.0.1/24", alias="linkspan:net")
    leads = [RouteEntry("0.0.0.0/0", "eth1", "10.1.0.254")]
    assert find_outer(FakeKernel(host=[ours, storage, out]), "") == Outer("10.0.0.1", 9000)
    assert find_outer(FakeKernel(host=[ours, storage, out], routes=leads), "") == Outer("10.1.0.1", 1500)
    assert find_outer(FakeKernel(host=[storage, out], routes=leads), "eth0") == Outer("10.0.0.1", 9000)
    for alone in ([], [ours], [card("eth0")], [card("eth0", "10.0.0.1/24", up=False)]):
        with pytest.raises(InvalidArgument, match="say --advertise"):
            find_outer(FakeKernel(host=alone), "")


@pytest.mark.parametrize(
    ("missing", "words"),
    [
        (("babeld",), "a mesh needs the program babeld: install the package babeld"),
        (("wg",), "a mesh needs the program wg: install the package wireguard-tools"),
        (("ipv6",), "a mesh needs IPv6 in the kernel, which babeld speaks between neighbours: ipv6.disable=1"),
        (("wireguard-go",), "the running kernel lacks it .module wireguard., and there is no wireguard-go: install"),
    ],
)
def test_what_is_missing_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: tuple[str, ...], words: str
) -> None:
    monkeypatch.setattr(fabric_module.shutil, "which", lambda name: None if name in missing else f"/usr/bin/{name}")
    kernel = FakeKernel(host=[card("eth0", "10.0.0.1/24")])
    if "ipv6" not in missing:
        kernel.apply(diff({}, state_of([Sysctl(HOST, "net/ipv6/conf/all/disable_ipv6", "0")])))
    programmer = Programmer(lambda: kernel)

    async def program(before: FabricFacts | None, after: FabricFacts | None) -> None:
        assert after and after.kind == "wireguard"
        raise Unsupported("this kernel has none")

    async def whole() -> None:
        fabric = MeshFabric(tmp_path / "data", tmp_path / "run", programmer, program)
        with pytest.raises(Unsupported, match=words):
            await fabric.start(MeshIdentity("mesh", "a", "h1", "100.127.0.1", "fd6c::1", "private"))
        await fabric.close()

    asyncio.run(whole())
    programmer.close()
