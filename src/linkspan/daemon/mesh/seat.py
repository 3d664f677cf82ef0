"""This host's member of the store: Debian's etcd, at the host's address in the mesh and nowhere else.

What it began with is kept, so that its command is the same whenever the daemon starts, and a daemon that starts finds
it running instead of starting it anew. Certificates it reads with every connection, but whom to trust only when it
starts: with another authority its command is another one.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from pathlib import Path

import msgspec

from linkspan.daemon.mesh.kept import Kept, Own
from linkspan.daemon.supervised import Running, Supervised
from linkspan.errors import LinkspanError, Unavailable, Unsupported
from linkspan.store.etcd.address import PORT, MemberAddress
from linkspan.store.etcd.client import EtcdClient

PEER_PORT = 2380
_NAME = "etcd"
_RECOVERY = 20.0  # seconds


class Seat:
    def __init__(self, kept: Kept, own: Own) -> None:
        self._kept, self.own = kept, own
        self._supervised: Supervised | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def taken(self) -> bool:
        """Whether this host has a member."""
        return bool(self.own.began_with)

    @property
    def address(self) -> MemberAddress:
        return MemberAddress(self.own.address, PORT)

    def running(self) -> Running | None:
        return self._supervised.now() if self._supervised else None

    def keep(self, **changes: object) -> None:
        changed = msgspec.structs.replace(self.own, **changes)
        if changed != self.own:
            self._kept.write(changed)
            self.own = changed

    def resume(self) -> None:
        """Looks after the member, where there is one."""
        if self.taken:
            self._look_after()

    async def begin(self, others: str = "") -> None:
        """A member without any data. `others` are those of the store that it comes to, as etcd takes them; "" is a new
        store."""
        await self.give_up()
        own = f"{self.own.host_id}={peer_url(self.own.address)}"
        self.keep(began_with=f"{others},{own}" if others else own, began_new=not others, member_id="")
        self._look_after()

    async def give_up(self) -> None:
        """Ends the member, if there is one, and removes its data."""
        await self._let_go()
        await Supervised(_NAME, self._kept.store, ()).end()
        self.keep(began_with="", began_new=False, member_id="")
        await asyncio.to_thread(shutil.rmtree, self._kept.store / "data", ignore_errors=True)

    async def renew(self) -> None:
        """The authority is another one: the member is started anew, where there is one."""
        await self._let_go()
        self.resume()

    async def recover(self, etcd: EtcdClient) -> None:
        """The member becomes the only one of the store, whoever else there was. Raises Unavailable where it does not
        come up as that."""
        await self._let_go()
        etcd.reach([self.address])
        try:
            self._look_after("--force-new-cluster")
            await self._alone(etcd)
        finally:
            await self._let_go()
            self._look_after()
        self.keep(members=(str(self.address),))
        await self._alone(etcd)

    async def _alone(self, etcd: EtcdClient) -> None:
        """Returns once it serves, with no other one."""
        assert self._supervised
        running = self._supervised.now()
        try:
            async with asyncio.timeout(_RECOVERY):
                while True:
                    with contextlib.suppress(LinkspanError):
                        if len(await etcd.members_now()) == 1 and self._supervised.now() not in (None, running):
                            return
                    await asyncio.sleep(0.2)
        except TimeoutError:
            words = self._supervised.last_words()
            raise Unavailable(f"etcd does not come up alone within {_RECOVERY:g} s: {words}") from None

    async def close(self) -> None:
        """The member goes on."""
        await self._let_go()

    async def _let_go(self) -> None:
        if self._task:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None

    def _look_after(self, *flags: str) -> None:
        self._supervised = Supervised(_NAME, self._kept.store, self._command(*flags))
        self._task = asyncio.create_task(self._supervised.run())

    def _command(self, *flags: str) -> list[str]:
        own, kept = self.own, self._kept
        clients, peers = client_url(own.address), peer_url(own.address)
        return [
            "etcd",
            *("--name", own.host_id),
            *("--data-dir", str(kept.store / "data")),
            *("--listen-client-urls", clients, "--advertise-client-urls", clients),
            *("--listen-peer-urls", peers, "--initial-advertise-peer-urls", peers),
            *("--initial-cluster", own.began_with),
            *("--initial-cluster-state", "new" if own.began_new else "existing"),
            *("--initial-cluster-token", own.mesh_id),
            *("--cert-file", str(kept.certificate), "--key-file", str(kept.key), "--client-cert-auth"),
            *("--peer-cert-file", str(kept.certificate), "--peer-key-file", str(kept.key), "--peer-client-cert-auth"),
            *("--trusted-ca-file", str(kept.authority), "--peer-trusted-ca-file", str(kept.authority)),
            *("--client-crl-file", str(kept.revoked), "--peer-crl-file", str(kept.revoked)),
            # The way between two members may lead over others, and change while they talk.
            *("--heartbeat-interval", "200", "--election-timeout", "2000", "--pre-vote"),
            # What makes a change of members safe is looked at by ourselves, and sooner than after five seconds each.
            "--strict-reconfig-check=false",
            *("--auto-compaction-mode", "periodic", "--auto-compaction-retention", "1h"),
            *("--logger", "zap", "--log-level", "warn"),
            *filter(None, flags),
        ]


def check_etcd() -> None:
    """Raises Unsupported where there is none."""
    if shutil.which("etcd") is None:
        raise Unsupported("a mesh needs the program etcd: install the package etcd-server")


async def end_store(data_root: Path) -> None:
    """The member of a host that is in no mesh any more, or not now: its data stays, for when it is again."""
    await Supervised(_NAME, Kept(data_root).store, ()).end()


def peer_url(address: str) -> str:
    return f"https://{MemberAddress(address, PEER_PORT)}"


def client_url(address: str) -> str:
    return f"https://{MemberAddress(address, PORT)}"
