"""This host as one of a mesh: how it comes into it and back, who else is let in, and who is taken out."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from linkspan import __version__
from linkspan.daemon.background import Background
from linkspan.daemon.cluster.cluster import Cluster
from linkspan.daemon.identity import now as timestamp
from linkspan.daemon.mesh import certificates
from linkspan.daemon.mesh.admission import Admission
from linkspan.daemon.mesh.asking import ask
from linkspan.daemon.mesh.assembly import Assembly, parse_member
from linkspan.daemon.mesh.certificates import Authority
from linkspan.daemon.mesh.contract import Fabric
from linkspan.daemon.mesh.credentials import Credentials
from linkspan.daemon.mesh.fabric import check_programs
from linkspan.daemon.mesh.kept import Kept, Own
from linkspan.daemon.mesh.messages import Request, Welcome
from linkspan.daemon.mesh.register import Register
from linkspan.daemon.mesh.rotation import Rotation
from linkspan.daemon.mesh.seat import Seat, check_etcd
from linkspan.daemon.mesh.standing import AuthorityView, MeshView
from linkspan.engine.mesh import members
from linkspan.engine.mesh.addresses import endpoints, mesh_addresses
from linkspan.engine.mesh.authorities import recovered
from linkspan.engine.mesh.entry import check_clocks, entered
from linkspan.errors import Conflict, InvalidArgument, LinkspanError, Unavailable
from linkspan.model.cluster import Host
from linkspan.model.mesh import FABRIC_PORT, JOIN_PORT, MeshIdentity, MeshSettings, peer_of
from linkspan.model.mesh_token import Token
from linkspan.model.snapshot import Snapshot
from linkspan.state.host import HostFacts, Underlay
from linkspan.store.etcd.address import ClusterAddress
from linkspan.store.etcd.client import EtcdClient

log = logging.getLogger(__name__)
_PAUSE = 1.0  # seconds, before what failed is tried again
_ASKED = 5  # times, before the store is said not to answer


class Mesh:
    def __init__(
        self,
        settings: MeshSettings,
        data_root: Path,
        fabric: Fabric,
        *,
        host_id: str,
        name: str,
        now: Callable[[], Snapshot],
        record: Callable[[Sequence[Host]], object],
        clock: Callable[[], float] = time.time,
        life: float = certificates.LIFE,
        gone: float = members.GONE,
    ) -> None:
        """`record` takes the hosts that are told to one that joins; `life` is a certificate's, in seconds; `gone` how
        long a member of the store may be silent before another host gets its place."""
        self._settings, self._fabric, self._kept = settings, fabric, Kept(data_root)
        self.host_id, self._name, self._now, self._record = host_id, name, now, record
        self._clock, self._life, self._gone = clock, life, gone
        self._endpoints: tuple[str, ...] = ()
        self._background = Background()
        self._opened = contextlib.AsyncExitStack()  # as far as it has come
        self._changed = asyncio.Event()
        self._admission: Admission | None = None
        self._cluster: Cluster | None = None

    # -- its life -----------------------------------------------------------------------------------------------------

    async def start(self, facts: HostFacts) -> None:
        """Comes back into the mesh, or joins one, or begins one. After it `underlay`, `etcd` and `address` are there.

        Raises what stands in the way; nothing of an attempt to join is left then.
        """
        settings = self._settings
        check_etcd()  # any host may get a member of the store
        check_programs(encrypted=settings.encrypted)  # before the others are told of this host
        own = self._kept.read()
        meshed = (own.address, own.address6) if own else ()
        self._endpoints = endpoints(facts.interfaces, facts.leading_out, settings.advertise, FABRIC_PORT, meshed)
        own = own or (await self._join() if settings.join else self._begin())
        if own.host_id != self.host_id:
            raise Conflict(
                f"{self._kept.folder} is another host's, of which this one is a copy: remove it, and join the mesh anew"
            )
        self._kept.number = own.authority
        self._seat = Seat(self._kept, own)
        self._credentials = Credentials(self._kept, self._seat, self._clock, self._life)
        self._opened.push_async_callback(self._seat.close)
        self._opened.push_async_callback(self._fabric.close)
        self._credentials.renew()
        identity = MeshIdentity(
            own.mesh_id,
            own.host_id,
            self._name,
            own.address,
            own.address6,
            own.private_key,
            underlay=settings.advertise,
            encrypted=settings.encrypted,
        )
        self.underlay: Underlay = await self._fabric.start(identity)
        await self._fabric.peers([peer_of(host) for host in self._others()])
        if own.members:
            self._seat.resume()
        else:
            await self._seat.begin()
        addresses = tuple(map(parse_member, own.members)) or (self._seat.address,)
        self.address = ClusterAddress(addresses)
        self.etcd = EtcdClient(self.address, self._credentials.tls())

    def run(self, cluster: Cluster) -> None:
        """From now on this host looks after the mesh, and lets others in."""
        self._cluster = cluster
        self._register = Register(self.etcd, cluster.root, self._clock)
        self._assembly = Assembly(self.etcd, self._seat, self._hosts, cluster.answering, gone=self._gone)
        self._rotation = Rotation(
            self.etcd,
            self._credentials,
            self._seat,
            self._register,
            self._assembly,
            hosts=self._hosts,
            heard=lambda: cluster.answering() if cluster.usable.is_set() else (),
            caught_up=cluster.caught_up,
            restate=self._restate,
            clock=self._clock,
        )
        self._admission = Admission(self._kept, self._register.secret, self._admit, self._rotation)
        self._opened.push_async_callback(self._admission.close)
        self._background.run(self._listen(self._admission))
        rotation = (self._rotation.run, self._rotation.seek)
        for work in (self._assembly.run, self._follow, self._keep_certificate, *rotation):
            self._background.keep(work)
        self._changed.set()

    def follow(self) -> None:
        """The hosts have changed."""
        self._changed.set()

    async def close(self) -> None:
        """The mesh goes on: the fabric, and this host's member of the store."""
        await self._background.end()
        await self._opened.aclose()

    async def view(self) -> MeshView:
        return await self._fabric.view()

    # -- coming into it -----------------------------------------------------------------------------------------------

    def _begin(self) -> Own:
        mesh_id = secrets.token_hex(8)
        authority = Authority.make(mesh_id, self._clock())
        address, address6 = mesh_addresses(mesh_id, self.host_id, ())
        log.info("this host begins a mesh; `linkspan mesh token` shows with what others join it")
        return self._write(0, authority, mesh_id, address, address6, certificates.new_wireguard_key())

    async def _join(self) -> Own:
        join, token = self._settings.join, self._settings.token
        assert join and token
        private = certificates.new_wireguard_key()
        encrypted = self._settings.encrypted
        welcome = await ask(join, token, self._described(private), self._clock, encrypted=encrypted)
        if welcome.host is None:
            raise Conflict(f"cannot join the mesh: what {join[0]} answers is not what it should be")
        authority = Authority(welcome.authority, welcome.authority_key)
        self._record(welcome.hosts)
        host = welcome.host
        where = (host.address, host.address6)
        return self._write(welcome.number, authority, token.mesh_id, *where, private, welcome.members)

    def _write(
        self,
        number: int,
        authority: Authority,
        mesh_id: str,
        address: str,
        address6: str,
        private_key: str,
        listed: tuple[str, ...] = (),
    ) -> Own:
        """All that is kept; what says that it is whole comes last."""
        kept = self._kept
        kept.number = number
        kept.put(kept.authority, authority.certificate)
        kept.put(kept.authority_key, authority.key)
        kept.put(kept.key, certificates.new_key())
        kept.certificate.unlink(missing_ok=True)
        kept.put(kept.revoked, authority.revocations((), self._clock()))
        own = Own(
            mesh_id=mesh_id,
            host_id=self.host_id,
            address=address,
            address6=address6,
            private_key=private_key,
            members=listed,
            authority=number,
        )
        kept.write(own)
        return own

    # -- who this host is ---------------------------------------------------------------------------------------------

    def _described(self, private_key: str) -> Host:
        return Host(
            id=self.host_id,
            name=self._name,
            version=__version__,
            created=timestamp(),
            wireguard=certificates.wireguard_public_key(private_key),
            endpoints=self._endpoints,
        )

    def own_host(self) -> Host:
        """As the others know it."""
        own = self._seat.own
        return msgspec.structs.replace(
            self._described(own.private_key),
            address=own.address,
            address6=own.address6,
            mtu=self.underlay.mtu,
            certificates=own.certificates,
            authority=own.newest,
        )

    def _hosts(self) -> list[Host]:
        return [*self._others(), *([self._cluster.own] if self._cluster else [])]

    def _others(self) -> list[Host]:
        return [host for host in self._now().hosts.values() if host.wireguard]

    # -- what goes on -------------------------------------------------------------------------------------------------

    async def _listen(self, admission: Admission) -> None:
        said = ""
        while True:
            try:
                await admission.start(JOIN_PORT)
                return
            except LinkspanError as error:
                if str(error) != said:
                    log.error("mesh: %s", error)
                said = str(error)
            await asyncio.sleep(_PAUSE)

    async def _follow(self) -> None:
        """Whoever joins can be reached, whoever is taken out cannot any more."""
        said = ""
        while True:
            await self._changed.wait()
            self._changed.clear()
            self._assembly.look()
            self._rotation.look()
            try:
                await self._fabric.peers([peer_of(host) for host in self._others()])
                self._credentials.revoke(await self._register.revoked())
                said = ""
            except LinkspanError as error:
                if str(error) != said:
                    log.warning("mesh: not everything follows what the hosts are now: %s", error)
                said = str(error)
                await asyncio.sleep(_PAUSE)
                self._changed.set()

    async def _keep_certificate(self) -> None:
        """Made anew when half of its time is over."""
        while True:
            await asyncio.sleep(max(self._credentials.left(), 0.05))
            if self._credentials.renew():
                self._restate()

    def _restate(self) -> None:
        """This host shows another certificate, or has another authority."""
        own = self._seat.own
        if self._admission and self._cluster:
            self._admission.renew()
            self._cluster.restate(certificates=own.certificates, authority=own.newest)

    # -- letting in ---------------------------------------------------------------------------------------------------

    async def _admit(self, request: Request) -> Welcome:
        """Raises Conflict with what stands in the way."""
        await self._register.check_token()
        check_clocks(self._clock(), request.clock)
        if request.encrypted != self._settings.encrypted:
            how = "on" if self._settings.encrypted else "off"
            raise Conflict(
                f"the mesh has --mesh-encryption={how}, and so must every host of it: between one that encrypts and "
                "one that does not nothing passes"
            )
        hosts, own = self._hosts(), self._seat.own
        answering = {self.host_id, *(self._cluster.answering() if self._cluster else ())}
        admitted = entered(request.host, hosts, answering, own.mesh_id)
        admitted = msgspec.structs.replace(admitted, mtu=self.underlay.mtu, authority=own.authority)
        authority = self._credentials.authority
        await self._register.enter(admitted, own.authority)
        return Welcome(
            host=admitted,
            number=own.authority,
            authority=authority.certificate,
            authority_key=authority.key,
            hosts=tuple(host for host in hosts if host.id != admitted.id),
            members=own.members or (str(self._seat.address),),
        )

    # -- the verbs ----------------------------------------------------------------------------------------------------

    async def token(self) -> str:
        return self._token(await self._register.secret())

    async def token_expires(self) -> float:
        """In seconds since 1970; 0 for never."""
        return await self._register.expires()

    async def rotate(self, lasts: float = 0) -> str:
        """Another token; the one before is worth nothing any more. `lasts` seconds, 0 for until it is rotated."""
        return self._token(await self._register.rotate(lasts))

    def _token(self, secret: bytes) -> str:
        return Token(self._seat.own.mesh_id, self._credentials.authority.fingerprint[:16], secret).text()

    def authority(self) -> AuthorityView:
        """Which authority is in force here, and who has the key of which."""
        own, hosts = self._seat.own, {host.name: host.authority for host in self._others()}
        return AuthorityView(own.authority, self._credentials.authority.fingerprint, hosts | {self._name: own.newest})

    async def rotate_authority(self) -> None:
        """Another authority, and none before it is worth anything any more. Raises Unavailable where that is not in
        force soon."""
        await self._rotation.done(await self._rotation.make())

    async def forget(self, ref: str, *, force: bool) -> None:
        """Locks a host out: the others do not hear it any more, its certificates are worth nothing, nor is the token
        that it may know, nor what it could sign by itself; and what it had is others' to take. Raises NotFound;
        Conflict where it answers."""
        assert self._cluster
        host = self._cluster.find(ref, force=force)
        await self._register.revoke(host)
        await self._register.rotate()
        await self._cluster.expel(host.id, force=True)
        log.warning("mesh: host %s was taken out; there is a new token", host.name)
        try:
            await self._rotation.done(await self._made())
        except LinkspanError as error:
            raise Unavailable(
                f"host {host.name} was taken out, and there is a new token; but what it can sign by itself is still "
                f"believed: {error}; if need be: linkspan mesh authority rotate"
            ) from None

    async def _made(self) -> int:
        """Another authority, made after all that was done here. Raises Unavailable."""
        while True:
            with contextlib.suppress(Conflict):  # the others' may be one that who is to be locked out has got
                return await self._rotation.make()

    async def _store_answers(self) -> bool:
        """Now, or in a while: that its members are just choosing a leader is no reason to go on alone."""
        for _ in range(_ASKED):
            with contextlib.suppress(LinkspanError):
                await self.etcd.members_now()
                return True
            await asyncio.sleep(_PAUSE)
        return False

    async def recover(self, *, force: bool) -> None:
        """The store goes on with this host's member alone, whatever became of the others. Raises Conflict where this
        host has none, or most of them answer."""
        if not self._seat.taken:
            raise Conflict("this host has no member of the store: recover on one that has (linkspan cluster status)")
        if not force and await self._store_answers():
            raise InvalidArgument("the store answers: there is nothing to recover; --force to do it all the same")
        log.warning("mesh: the store goes on with this host's member alone")
        async with self._assembly.still:
            await self._seat.recover(self.etcd)
        # Members that come back follow, instead of going on without this host.
        number = await self._rotation.make(recovered)
        await self._rotation.change_now(number)
        await self._rotation.done(number)
