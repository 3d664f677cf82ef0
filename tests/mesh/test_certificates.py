"""A mesh's certificates: made anew while a real etcd and its clients use them, and taken back."""

from __future__ import annotations

import asyncio
import dataclasses
import ssl
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from linkspan.daemon.mesh import certificates
from linkspan.daemon.mesh.asking import ask
from linkspan.daemon.mesh.certificates import Authority
from linkspan.daemon.mesh.kept import Kept
from linkspan.daemon.mesh.mesh import Mesh
from linkspan.errors import Conflict, LinkspanError
from linkspan.model.cluster import Host
from linkspan.model.mesh import JOIN_PORT, MeshIdentity, MeshPeer, MeshSettings
from linkspan.model.mesh_token import parse_token
from linkspan.model.snapshot import Snapshot
from linkspan.state.host import HostFacts, Underlay
from linkspan.store.etcd.address import ClusterAddress, Tls
from linkspan.store.etcd.client import EtcdClient
from tests.hosts import Host as Place

pytestmark = pytest.mark.root
LIFE = 4.0  # seconds


class NoFabric:
    """The addresses, and nothing that leads to others."""

    def __init__(self, host: Place) -> None:
        self._host = host

    async def start(self, own: MeshIdentity) -> Underlay:
        self._host.run("ip", "address", "add", f"{own.address}/32", "dev", "lo")
        self._host.run("ip", "address", "add", f"{own.address6}/128", "dev", "lo")
        return Underlay("lo", own.address, own.address6)

    async def peers(self, peers: Sequence[MeshPeer]) -> None: ...

    async def close(self) -> None: ...

    async def end(self) -> None: ...


class NoCluster:
    """What the mesh asks of the cluster that stands on it."""

    root = "/linkspan/v1/"

    def __init__(self, own: Host) -> None:
        self.own, self.restated = own, 0
        self.usable = asyncio.Event()
        self.usable.set()

    def answering(self) -> frozenset[str]:
        return frozenset({self.own.id})

    async def caught_up(self, revision: int) -> None: ...

    def restate(self, **changes: object) -> None:
        self.restated += 1


@pytest.fixture
def place(new_folder: Callable[[], Path]) -> tuple[Place, Path]:
    folder = new_folder()
    folder.mkdir()
    return Place("mesh"), folder


def test_they_are_made_anew_at_half_of_their_time_and_nobody_notices(place: tuple[Place, Path]) -> None:
    host, folder = place

    async def whole() -> None:
        mesh = Mesh(
            MeshSettings(),
            folder,
            NoFabric(host),
            host_id="h1",
            name="one",
            now=Snapshot,
            record=lambda hosts: None,
            life=LIFE,
        )
        await mesh.start(HostFacts("/run/netns"))
        try:
            cluster = NoCluster(mesh.own_host())
            mesh.run(cluster)  # type: ignore[arg-type]
            await until_it_serves(mesh.etcd)
            shown, asked = set[bytes](), 0
            begun = time.monotonic()
            while time.monotonic() - begun < 1.6 * LIFE:
                client = EtcdClient(mesh.address, tls(folder))  # a new connection each time
                await client.put("/x", b"y")
                await client.close()
                shown.add(await certificate_at(mesh.own_host().address))
                asked += 1
            assert asked > 10 and len(shown) >= 3 and cluster.restated >= 2
            await mesh.token()  # marks the store as ours
            await it_is_revoked(mesh, folder)
            await the_authority_is_rotated(mesh, folder)
        finally:
            await mesh.close()
            await mesh._seat.give_up()

    try:
        host.call(lambda: asyncio.run(asyncio.wait_for(whole(), 50)))
    finally:
        host.close()


async def it_is_revoked(mesh: Mesh, folder: Path) -> None:
    """etcd looks at the list with every connection."""
    authority = Authority((folder / "mesh/ca.pem").read_bytes(), (folder / "mesh/ca.key").read_bytes())
    lost, key = folder / "lost.pem", certificates.new_key()
    lost.write_bytes(authority.host(key, "h2", ("100.127.0.2",), time.time()))
    (folder / "lost.key").write_bytes(key)
    stranger = Tls(str(folder / "mesh/ca.pem"), str(lost), str(folder / "lost.key"))
    client = EtcdClient(ClusterAddress(mesh.address.members), stranger)
    await client.get("/x")
    await client.close()
    host = Host(id="h2", name="two", certificates=(certificates.serial(lost.read_bytes()),))
    await mesh._register.revoke(host)
    mesh.follow()
    client = EtcdClient(ClusterAddress(mesh.address.members), stranger)
    deadline = time.monotonic() + 10
    with pytest.raises(LinkspanError):
        while time.monotonic() < deadline:
            client = EtcdClient(ClusterAddress(mesh.address.members), stranger)
            await client.get("/x")
            await client.close()
    await mesh.etcd.get("/x")


async def the_authority_is_rotated(mesh: Mesh, folder: Path) -> None:
    """Who has the key of the one before can make what he likes: it is worth nothing. Nor is the token worth more that
    says which authority that was."""
    kept, before = Kept(folder), await mesh.token()
    stolen = Authority(kept.authority.read_bytes(), kept.authority_key.read_bytes())
    stranger = Tls(*(str(folder / name) for name in ("stolen.pem", "fresh.pem", "fresh.key")))
    (folder / "stolen.pem").write_bytes(stolen.certificate)
    (folder / "fresh.key").write_bytes(certificates.new_key())

    async def reached(trusted: Path) -> None:
        (folder / "fresh.pem").write_bytes(
            stolen.host((folder / "fresh.key").read_bytes(), "h1", ("100.127.0.2",), time.time())
        )
        client = EtcdClient(mesh.address, dataclasses.replace(stranger, ca=str(trusted)))
        await client.get("/x")
        await client.close()

    await reached(kept.authority)
    await mesh.rotate_authority()
    now = kept.of(1)
    with pytest.raises(LinkspanError, match=r"it asks for a certificate that it trusts|it closed the connection"):
        await reached(now.authority)
    with pytest.raises(LinkspanError, match="its certificate is not trusted"):
        await reached(Path(stranger.ca))
    await mesh.etcd.put("/x", b"z")
    assert not certificates.is_of(await certificate_at(mesh.own_host().address), stolen.certificate)
    assert not kept.authority_key.exists() and now.authority_key.exists()
    with pytest.raises(Conflict, match="or older than its authority"):
        await ask((mesh.own_host().address, JOIN_PORT), parse_token(before), Host(id="h2", name="two"))


async def until_it_serves(etcd: EtcdClient) -> None:
    while True:
        try:
            await etcd.get("/x")
            return
        except LinkspanError:
            await asyncio.sleep(0.05)


async def certificate_at(address: str) -> bytes:
    """What the host shows whoever wants to join."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    _, writer = await asyncio.open_connection(address, JOIN_PORT, ssl=context)
    shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.transport.abort()
    return bytes(shown)


def tls(folder: Path) -> Tls:
    return Tls(*(str(folder / "mesh" / name) for name in ("ca.pem", "host.pem", "host.key")))
