"""Certificates: who is trusted by whom, and what is said where that fails."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest
from demo.etcd import Members, make_certificates

from linkspan.errors import InvalidArgument, Unavailable
from linkspan.store.etcd import http
from linkspan.store.etcd.address import ClusterAddress, MemberAddress, Tls, parse_tls
from linkspan.store.etcd.client import EtcdClient
from linkspan.store.etcd.contract import OutcomeUnknown
from linkspan.store.etcd.values import Changes, Watching
from tests.etcd import etcd, place
from tests.hosts import Host, hosts

pytestmark = pytest.mark.root
SECURE, PLAIN = "10.211.62.1", "10.211.62.2"


@dataclasses.dataclass(frozen=True)
class Secured:
    host: Host
    members: Members
    ours: Tls
    others: Tls  # of another authority

    def ask(self, tls: Tls | None, address: str = SECURE) -> None:
        async def whole() -> None:
            client = EtcdClient(ClusterAddress((MemberAddress(address),)), tls)
            try:
                await client.members()
                revision = await client.put("/a", b"")
                told = client.watch("/a", after=revision - 1)
                assert isinstance(await anext(told), Watching)
                assert isinstance(await anext(told), Changes)
                await told.aclose()
            finally:
                await client.close()

        self.host.call(asyncio.run, whole())

    def refusal(self, tls: Tls | None, address: str = SECURE) -> str:
        with pytest.raises(Unavailable) as caught:
            self.ask(tls, address)
        start, _, rest = str(caught.value).partition(f"{address}:2379: ")
        assert start == "etcd does not answer: "
        return rest


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    folder = tmp_path_factory.mktemp("tls")
    ours, others = (make_certificates(folder / name, [SECURE, "etcd.test"]) for name in ("ours", "others"))
    with (
        hosts(secure=f"{SECURE}/24", plain=f"{PLAIN}/24") as made,
        etcd([place(made["secure"], SECURE)], folder / "secure", ours) as members,
        etcd([place(made["plain"], PLAIN)], folder / "plain"),
    ):
        members.ctl("put", "/seen", "by etcdctl")
        yield Secured(made["plain"], members, parse_tls(ours.for_clients), parse_tls(others.for_clients))


def test_both_trust_each_other(secured: Secured) -> None:
    secured.ask(secured.ours)
    secured.ask(dataclasses.replace(secured.ours, server_name="etcd.test"))


def test_a_member_that_is_not_trusted(secured: Secured) -> None:
    tls = dataclasses.replace(secured.ours, ca=secured.others.ca)
    assert secured.refusal(tls).startswith("its certificate is not trusted: ")
    tls = dataclasses.replace(secured.ours, server_name="etcd.elsewhere")
    assert "Hostname mismatch, certificate is not valid for 'etcd.elsewhere'" in secured.refusal(tls)


def test_a_member_that_does_not_trust_us(secured: Secured) -> None:
    nobody = dataclasses.replace(secured.ours, certificate="", key="")
    asks = {
        "it asks for a certificate that it trusts (cert=FILE, key=FILE)",
        "it closed the connection without a word: does it trust our certificate (cert=FILE, key=FILE)?",
    }
    assert secured.refusal(nobody) in asks
    stranger = dataclasses.replace(secured.others, ca=secured.ours.ca)
    assert secured.refusal(stranger) in asks


def test_only_one_speaks_tls(secured: Secured) -> None:
    hint = "it closed the connection without a word: does it speak TLS (--cluster-tls)?"
    assert secured.refusal(None) == hint
    assert secured.refusal(secured.ours, PLAIN) == "it ends the TLS handshake: it may not speak TLS"


def test_a_member_that_hangs_has_done_nothing(secured: Secured, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "HANDSHAKE", 0.2)

    async def put() -> None:
        client = EtcdClient(ClusterAddress((MemberAddress(SECURE),)), secured.ours)
        await client.put("/a", b"")

    name = secured.members.running[0]
    secured.members.freeze(name)
    try:
        with pytest.raises(Unavailable, match=r"no TLS handshake within 0.2 s") as caught:
            secured.host.call(asyncio.run, put())
        assert not isinstance(caught.value, OutcomeUnknown)
    finally:
        secured.members.thaw(name)


def test_certificates_that_are_renewed(secured: Secured, tmp_path: Path) -> None:
    """Those that a new connection finds are used, and the last good ones while somebody is writing them."""
    files = {name: tmp_path / name for name in ("ca", "certificate", "key")}

    def lay(tls: Tls) -> None:
        for name, path in files.items():
            path.with_suffix(".new").write_bytes(Path(getattr(tls, name)).read_bytes())
            path.with_suffix(".new").replace(path)

    async def whole() -> None:
        lay(dataclasses.replace(secured.others, ca=secured.ours.ca))
        tls = Tls(**{name: str(path) for name, path in files.items()})
        client = EtcdClient(ClusterAddress((MemberAddress(SECURE),)), tls)
        with pytest.raises(Unavailable):
            await client.get("/a")
        lay(secured.ours)
        files["key"].write_text("half of a k")
        with pytest.raises(Unavailable):
            await client.get("/a")
        lay(secured.ours)
        await client.get("/a")
        files["ca"].unlink()
        await asyncio.gather(client.get("/a"), client.get("/b"))
        await client.close()

    secured.host.call(asyncio.run, whole())


def test_files_that_are_no_certificates(secured: Secured, tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.write_text("no certificate")
    cluster = ClusterAddress((MemberAddress(SECURE),))
    ours = secured.ours
    for tls, words in (
        (dataclasses.replace(ours, ca="/nowhere.pem"), "cluster TLS: ca=/nowhere.pem: No such file or directory"),
        (dataclasses.replace(ours, ca=str(text)), f"cluster TLS: ca={text}: it is not what it should be, a PEM file"),
        (dataclasses.replace(ours, key="/nowhere.key"), "key=/nowhere.key: No such file or directory"),
        (dataclasses.replace(ours, certificate=str(text)), f"cert={text},key={ours.key}: it is not what it should be"),
        (
            dataclasses.replace(ours, key=secured.others.key),
            f"cert={ours.certificate},key={secured.others.key}: they do not belong together",
        ),
    ):
        with pytest.raises(InvalidArgument) as caught:
            EtcdClient(cluster, tls)
        assert words in str(caught.value)
