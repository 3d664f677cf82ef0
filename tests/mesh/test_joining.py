"""What a host that wants to join and one that lets in say to each other: over real sockets, on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from linkspan.daemon.mesh import certificates, messages
from linkspan.daemon.mesh.admission import Admission
from linkspan.daemon.mesh.asking import ask, want
from linkspan.daemon.mesh.certificates import Authority
from linkspan.daemon.mesh.kept import Kept
from linkspan.daemon.mesh.messages import Given, Greeting, Proven, Request, Wanted, Welcome
from linkspan.daemon.mesh.register import Announced, Register
from linkspan.engine.mesh.entry import check_clocks, entered
from linkspan.engine.mesh.guessing import EACH
from linkspan.errors import Conflict, Forbidden, LinkspanError, Unavailable
from linkspan.model.cluster import Host
from linkspan.model.mesh_token import Token
from linkspan.store.etcd.fake import FakeEtcd

HERE = "127.0.0.1"
MESH = "00112233445566aa"
H1 = Host(id="h1", name="one", address="100.127.0.1", wireguard="k1", endpoints=("10.0.0.1:6784",))
H2 = Host(id="h2", name="two", wireguard="k2")


class Gate:
    """One host of a mesh, as far as it lets others in."""

    def __init__(self, folder: Path) -> None:
        self.kept = kept = Kept(folder)
        self.authority = Authority.make(MESH, time.time())
        kept.put(kept.authority, self.authority.certificate)
        kept.put(kept.key, certificates.new_key())
        kept.put(kept.certificate, self.authority.host(kept.key.read_bytes(), "h1", ("100.127.0.1",), time.time()))
        self.etcd = FakeEtcd()
        self.clock: Callable[[], float] = time.time
        self.register = Register(self.etcd.client(), "/linkspan/v1/", lambda: self.clock())
        self.admission = Admission(kept, self.register.secret, self.admit)
        self.asked: list[Request] = []

    async def admit(self, request: Request) -> Welcome:
        self.asked.append(request)
        await self.register.check_token()
        check_clocks(self.clock(), request.clock)
        admitted = entered(request.host, [H1], ["h1"], MESH)
        await self.register.enter(admitted)
        return Welcome(host=admitted, authority=self.authority.certificate, hosts=(H1,), members=("100.127.0.1:2379",))

    async def token(self, **other: object) -> Token:
        made = Token(MESH, self.authority.fingerprint[:16], await self.register.secret())
        return Token(**({name: getattr(made, name) for name in ("mesh_id", "authority", "secret")} | other))  # type: ignore[arg-type]


def play(folder: Path, steps: Callable[[Gate, int], Awaitable[None]]) -> None:
    async def whole() -> None:
        gate = Gate(folder)
        port = await gate.admission.start(0, HERE)
        try:
            await asyncio.wait_for(steps(gate, port), 20)
        finally:
            await gate.admission.close()

    asyncio.run(whole())


def test_who_has_the_token_is_entered_and_gets_all_it_needs(tmp_path: Path) -> None:
    async def steps(gate: Gate, port: int) -> None:
        welcome = await ask((HERE, port), await gate.token(), H2)
        assert welcome.host and welcome.host.id == "h2" and welcome.host.address.startswith("100.127.")
        assert welcome.hosts == (H1,) and welcome.authority == gate.authority.certificate
        keys = [item.key for item in gate.etcd.find("/linkspan/v1/records/hosts/", True)]
        assert keys == ["/linkspan/v1/records/hosts/h2"]
        again = await ask((HERE, port), await gate.token(), H2)
        assert again.host == welcome.host

    play(tmp_path, steps)


def test_a_wrong_token_gets_nothing_is_logged_and_limited(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def steps(gate: Gate, port: int) -> None:
        wrong = await gate.token(secret=b"guess" * 3 + b"!")
        for _ in range(EACH):
            with pytest.raises(Forbidden, match="refuses the token"):
                await ask((HERE, port), wrong, H2)
        with pytest.raises(Unavailable, match="it hung up"):
            await ask((HERE, port), await gate.token(), H2)  # be it the right one
        assert not gate.asked and not gate.etcd.find("/linkspan/v1/records/", True)

    with caplog.at_level(logging.INFO):
        play(tmp_path, steps)
    said = [record.getMessage() for record in caplog.records]
    assert "mesh: somebody at 127.0.0.1 wanted to join with a wrong token (5 within a minute)" in said
    assert "mesh: too many wrong tokens: nobody at 127.0.0.1 is heard for a minute" in said


def test_a_rotated_token_is_a_wrong_one(tmp_path: Path) -> None:
    async def steps(gate: Gate, port: int) -> None:
        before = await gate.token()
        await gate.register.rotate()
        with pytest.raises(Forbidden, match="it is not, or no more, the mesh's"):
            await ask((HERE, port), before, H2)
        assert (await ask((HERE, port), await gate.token(), H2)).host

    play(tmp_path, steps)


def test_a_token_whose_time_is_over(tmp_path: Path) -> None:
    async def steps(gate: Gate, port: int) -> None:
        gate.clock = lambda: 1_790_000_000.0
        assert await gate.register.expires() == 0
        await gate.register.rotate(3600)
        assert await gate.register.expires() == 1_790_003_600
        token = await gate.token()
        gate.clock = lambda: 1_790_003_601.0
        with pytest.raises(
            Conflict,
            match="the token was valid until 2026-09-21 15:13:20 UTC, and here it is 2026-09-21 15:13:21 UTC",
        ):
            await ask((HERE, port), token, H2, lambda: 1_790_003_601.0)

    play(tmp_path, steps)


def test_a_token_of_another_mesh_tells_the_other_side_nothing(tmp_path: Path) -> None:
    async def steps(gate: Gate, port: int) -> None:
        other = Authority.make("ff" * 8, time.time())
        with pytest.raises(Conflict, match="the token is of another mesh than 127"):
            await ask((HERE, port), await gate.token(authority=other.fingerprint[:16]), H2)
        assert (await ask((HERE, port), await gate.token(), H2)).host  # it was not even a wrong one

    play(tmp_path, steps)


def test_clocks_that_are_an_hour_apart(tmp_path: Path) -> None:
    async def steps(gate: Gate, port: int) -> None:
        gate.clock = lambda: 1_790_000_000.0
        with pytest.raises(
            Conflict,
            match="the clocks are apart: here it is 2026-09-21 14:13:20 UTC, there it is 2026-09-21 15:13:20 UTC",
        ):
            await ask((HERE, port), await gate.token(), H2, lambda: 1_790_003_600.0)
        assert not gate.etcd.find("/linkspan/v1/records/", True)

    play(tmp_path, steps)


def test_a_name_that_another_host_has(tmp_path: Path) -> None:
    async def steps(gate: Gate, port: int) -> None:
        twin = Host(id="h3", name="one", wireguard="k3")
        with pytest.raises(
            Conflict, match=r"the name one is another host's of the mesh, at 10\.0\.0\.1: give this one"
        ):
            await ask((HERE, port), await gate.token(), twin)
        copy = Host(id="h1", name="one", wireguard="k3")
        with pytest.raises(Conflict, match="has the same id, and answers: one is a copy"):
            await ask((HERE, port), await gate.token(), copy)
        token = await gate.token()
        both = [Host(id=f"id{n}", name="same", wireguard="k") for n in range(2)]
        done = await asyncio.gather(*(ask((HERE, port), token, host) for host in both), return_exceptions=True)
        assert sum(isinstance(one, Conflict) for one in done) == 1, done

    play(tmp_path, steps)


def test_the_store_cannot_be_used(tmp_path: Path) -> None:
    async def steps(gate: Gate, port: int) -> None:
        token, client = await gate.token(), gate.etcd.client()
        gate.register = Register(client, "/linkspan/v1/", time.time)
        client.cut_off()
        with pytest.raises(Conflict, match="says: etcd does not answer"):
            await ask((HERE, port), token, H2)

    play(tmp_path, steps)


class Sharing:
    """One that has two authorities, and gives them to a host that it knows."""

    def __init__(self, gate: Gate, private: str, public: dict[str, str]) -> None:
        self._private, self._public = private, public
        other = Authority.make(MESH, time.time())
        self.authorities = {7: gate.authority, 8: other}

    def secret_with(self, host_id: str) -> bytes | None:
        public = self._public.get(host_id)
        return certificates.shared_secret(self._private, public) if public else None

    def give(self, wanted: Wanted) -> Given:
        if (found := self.authorities.get(wanted.number or 7)) is None:
            raise Conflict("there is none")
        return Given(number=wanted.number or 7, authority=found.certificate, authority_key=found.key)


def test_a_host_of_the_mesh_gets_its_authority_and_nobody_else_does(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    one, two, strange = (certificates.new_wireguard_key() for _ in range(3))
    there = certificates.wireguard_public_key(one)

    async def steps(gate: Gate, port: int) -> None:
        await gate.admission.close()
        sharing = Sharing(gate, one, {"h2": certificates.wireguard_public_key(two)})
        gate.admission = Admission(gate.kept, gate.register.secret, gate.admit, sharing)
        place = (HERE, await gate.admission.start(0, HERE))
        secret, fingerprint = certificates.shared_secret(two, there), gate.authority.fingerprint
        given = await want(place, "h2", secret, 0)
        assert given and (given.number, given.authority_key) == (7, gate.authority.key)
        given = await want(place, "h2", secret, 8)
        assert given and Authority(given.authority, given.authority_key).fingerprint != fingerprint
        assert await want(place, "h2", secret, 0, (fingerprint,)) is None  # it has that one
        with pytest.raises(Conflict, match="says: there is none"):
            await want(place, "h2", secret, 9)
        for host_id, key in (("h2", strange), ("h3", two), ("h3", strange)):
            with pytest.raises(Forbidden, match="does not know this host"):
                await want(place, host_id, certificates.shared_secret(key, there), 0)
        async with between(gate, place[1], tmp_path / "between") as spying:
            with pytest.raises(Forbidden, match="does not know this host"):
                await want((HERE, spying), "h2", secret, 0)

    with caplog.at_level(logging.WARNING):
        play(tmp_path, steps)
    said = [record.getMessage() for record in caplog.records]
    assert said == ["mesh: somebody at 127.0.0.1 who is no host of the mesh wanted its authority's key"]


def test_who_says_to_be_a_host_of_the_mesh_and_is_not_is_not_believed(tmp_path: Path) -> None:
    """Somebody with a lost host's key, at another host's address."""
    lost, own, real = (certificates.new_wireguard_key() for _ in range(3))

    async def steps(gate: Gate, port: int) -> None:
        await gate.admission.close()
        sharing = Sharing(gate, lost, {"h2": certificates.wireguard_public_key(own)})
        gate.admission = Admission(gate.kept, gate.register.secret, gate.admit, sharing)
        place = (HERE, await gate.admission.start(0, HERE))
        with pytest.raises(Forbidden):
            await want(place, "h2", certificates.shared_secret(own, certificates.wireguard_public_key(real)), 0)

    play(tmp_path, steps)


def test_nobody_joins_while_there_is_to_be_another_authority(tmp_path: Path) -> None:
    async def steps(gate: Gate, port: int) -> None:
        token = await gate.token()
        assert await gate.register.announced() is None
        await gate.register.announce(Announced(number=1, fingerprint=b"f", by="h1"))
        with pytest.raises(Conflict, match="says: the mesh is about to change its authority: try again"):
            await ask((HERE, port), token, H2)
        late = Register(gate.etcd.client(), "/linkspan/v1/", time.time)
        with pytest.raises(Conflict, match="another host has made an authority at the same time"):
            await late.announce(Announced(number=1, fingerprint=b"g", by="h2"))
        found = await late.announced()
        assert found and found.by == "h1" and await late.announced() == found
        assert await late.announce(Announced(number=2, fingerprint=b"g", by="h2")) > 0

    play(tmp_path, steps)


@contextlib.asynccontextmanager
async def between(gate: Gate, port: int, folder: Path) -> AsyncIterator[int]:
    """Somebody with a host's certificate and the authority's key, who passes on what both sides say."""
    kept = Kept(folder)
    kept.put(kept.key, certificates.new_key())
    kept.put(kept.certificate, gate.authority.host(kept.key.read_bytes(), "h9", ("100.127.0.9",), time.time()))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(kept.certificate, kept.key)
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname, client.verify_mode = False, ssl.CERT_NONE

    async def met(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up_reader, up_writer = await asyncio.open_connection(HERE, port, ssl=client)
        with contextlib.suppress(LinkspanError):
            await messages.send(writer, await messages.receive(up_reader, Greeting))
            await messages.send(up_writer, await messages.receive(reader, Proven))
            await messages.send(writer, await messages.receive(up_reader, Proven))
        writer.close()
        up_writer.close()

    server = await asyncio.start_server(met, HERE, 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


def test_somebody_between_the_two_learns_nothing_to_be_let_in_with(tmp_path: Path) -> None:
    async def steps(gate: Gate, port: int) -> None:
        async with between(gate, port, tmp_path / "between") as spying:
            with pytest.raises(Forbidden, match="refuses the token"):
                await ask((HERE, spying), await gate.token(), H2)
        assert not gate.asked

    play(tmp_path, steps)


def test_who_is_no_host_of_the_mesh_cannot_pretend_to_be(tmp_path: Path) -> None:
    """It shows the mesh's authority, and a certificate of its own."""

    async def steps(gate: Gate, port: int) -> None:
        other = Authority.make("ff" * 8, time.time())
        gate.kept.put(gate.kept.certificate, other.host(gate.kept.key.read_bytes(), "h1", (), time.time()))
        gate.admission.renew()
        with pytest.raises(Conflict, match="its certificate is not of the mesh"):
            await ask((HERE, port), await gate.token(), H2)

    play(tmp_path, steps)


@pytest.mark.parametrize("said", [b"", b"\0\0\0\2{}", b"\xff\xff\xff\xff", b"GET / HTTP/1.1\r\n\r\n", b"\0\0\0\5hello"])
def test_whoever_says_something_else_is_not_answered(tmp_path: Path, said: bytes) -> None:
    async def steps(gate: Gate, port: int) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        reader, writer = await asyncio.open_connection(HERE, port, ssl=context)
        await messages.receive(reader, Greeting)
        writer.write(said)
        if writer.can_write_eof():
            writer.write_eof()
        if not said:
            writer.close()
        else:
            assert await asyncio.wait_for(reader.read(), 20) == b""
            writer.close()
        assert (await ask((HERE, port), await gate.token(), H2)).host

    play(tmp_path, steps)


def test_nobody_is_there(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match=r"cannot join the mesh: 127\.0\.0\.1:1: connection refused"):
        asyncio.run(ask((HERE, 1), Token(MESH, b"a" * 16, b"s" * 16), H2))


def test_what_is_kept_is_whole_or_said_not_to_be(tmp_path: Path) -> None:
    kept = Kept(tmp_path)
    assert kept.read() is None
    kept.put(kept.folder / "mesh.json", b"{")
    with pytest.raises(Conflict, match="this is not what linkspan has written"):
        kept.read()
    assert (kept.folder / "mesh.json").stat().st_mode & 0o777 == 0o600 and kept.folder.stat().st_mode & 0o777 == 0o700


def test_an_authority_that_is_none() -> None:
    one, other = Authority.make(MESH, 0), Authority.make(MESH, 0)
    with pytest.raises(Conflict, match="do not belong together"):
        Authority(one.certificate, other.key)
    with pytest.raises(Conflict, match="cannot be read"):
        Authority(b"x", b"y")
