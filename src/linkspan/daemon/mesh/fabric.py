"""What carries the mesh on this host, looked after: its links, WireGuard, and babeld, which finds the ways.

The links are kernel objects like any other: rendered, and put back when they go. The processes outlive the daemon. Who
the peers are is kept in a file, so that a host that starts anew finds the others before anybody has told it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from linkspan.daemon.background import Background
from linkspan.daemon.mesh.mending import mend
from linkspan.daemon.mesh.outer import Outer, find_outer
from linkspan.daemon.mesh.standing import MeshView, Standing, tunnels
from linkspan.daemon.programmer import Programmer
from linkspan.daemon.supervised import Supervised
from linkspan.engine.mesh.fabric import babel_configuration, facts_of, places_to_try, wireguard_configuration
from linkspan.errors import Internal, LinkspanError, Unsupported
from linkspan.kernel.contract import Kernel
from linkspan.model.mesh import MeshIdentity, MeshPeer
from linkspan.state.fabric import SEGMENT, WIREGUARD, FabricFacts
from linkspan.state.host import Underlay

log = logging.getLogger(__name__)
_IPV6 = "net/ipv6/conf/all/disable_ipv6"  # there is such a setting, whatever it says
_TRY = 6.0  # seconds at one place, of which WireGuard asks twice
_PATIENCE = 20.0  # seconds until a process that was started can be told something, at most
_AGAIN = 0.05  # seconds between two attempts at it

Program = Callable[[FabricFacts | None, FabricFacts | None], Awaitable[None]]


def check_programs(*, encrypted: bool) -> None:
    """Raises Unsupported naming the first that is not there."""
    for program, package in (("babeld", "babeld"), *((("wg", "wireguard-tools"),) if encrypted else ())):
        if shutil.which(program) is None:
            raise Unsupported(f"a mesh needs the program {program}: install the package {package}")


class MeshFabric:
    def __init__(self, data: Path, run: Path, programmer: Programmer, program: Program) -> None:
        """`data` is kept when the host starts anew, `run` need not be. `program` makes what is rendered of the second
        facts of what is rendered of the first; of None nothing is."""
        self._known, self._run, self._programmer, self._program = data / "peers.json", run, programmer, program
        self.babel_socket = run / "babel.sock"
        self._own: MeshIdentity | None = None
        self._outer: Outer | None = None
        self._peers: tuple[MeshPeer, ...] = ()
        self.facts: FabricFacts | None = None
        self._kind = ""
        self._background = Background()
        self._after_start: dict[str, asyncio.Task[None]] = {}  # what is still done for a process that has just started
        self._configuring = asyncio.Lock()
        self._tried: dict[str, str] = {}  # host id → where it was tried last
        self._standing = Standing(self.babel_socket)

    # -- its life -----------------------------------------------------------------------------------------------------

    async def start(self, own: MeshIdentity) -> Underlay:
        self._own = own
        check_programs(encrypted=own.encrypted)
        if await self._programmer.run(lambda kernel: kernel.sysctl(_IPV6)) is None:
            raise Unsupported(
                "a mesh needs IPv6 in the kernel, which babeld speaks between neighbours: ipv6.disable=1?"
            )
        self._run.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._outer = await self._programmer.run(lambda kernel: find_outer(kernel, own.underlay))
        self._peers = self._read_peers()
        await self._make_links()
        if self._kind == "tun":
            self._look_after(self._wireguard(), self._wireguard_started)
        if self._kind:
            await self._configure()
            self._background.keep(self._seek)
        self._look_after(self._babel(own), self._babel_started)
        await self._babel_started()  # or an earlier daemon has started it
        self._background.keep(self._standing.run)
        facts = self.facts
        assert facts
        return Underlay(SEGMENT, own.address, own.address6, facts.mtu)

    async def _make_links(self) -> None:
        """Of WireGuard the kernel's where it has it; where a process has had it so far, it goes on."""
        assert self._own
        if not self._own.encrypted:
            await self._follow("")
            return
        there = await self._programmer.run(_kind_of_wireguard)
        if there != "tun":
            try:
                await self._follow("wireguard")
                return
            except Unsupported:
                log.debug("this kernel has no WireGuard of its own")
        if shutil.which("wireguard-go") is None:
            raise Unsupported(
                "encryption between the hosts of a mesh needs WireGuard: the running kernel lacks it (module "
                "wireguard), and there is no wireguard-go: install that package; or, where the wire between the hosts "
                "is to be trusted, start every host with --mesh-encryption=off"
            )
        await self._follow("tun")

    async def _follow(self, kind: str) -> None:
        """The links as they should be with the peers of now."""
        assert self._own and self._outer
        before = self.facts
        wanted = facts_of(self._own, self._peers, kind, self._outer.address, self._outer.mtu)
        await self._program(before, wanted)
        self._kind, self.facts = kind, wanted

    def _look_after(self, process: Supervised, started: Callable[[], Awaitable[None]] | None) -> None:
        self._background.keep(lambda: process.run(started))

    async def peers(self, peers: Sequence[MeshPeer]) -> None:
        if not self._own or tuple(peers) == self._peers:
            return
        self._peers = tuple(peers)
        self._keep_peers()
        await self._follow(self._kind)
        if self._kind:
            await self._configure()

    async def close(self) -> None:
        await self._background.end()
        self._after_start.clear()

    async def end(self) -> None:
        await self.close()
        if not self._run.exists():
            return  # there was never one
        await asyncio.gather(*(Supervised(name, self._run, ()).end() for name in ("babeld", "wireguard-go")))
        await self._program(self.facts, None)
        self.facts, self._own, self._peers = None, None, ()
        self._known.unlink(missing_ok=True)
        shutil.rmtree(self._run, ignore_errors=True)

    # -- what runs for it ---------------------------------------------------------------------------------------------

    def _wireguard(self) -> Supervised:
        return Supervised("wireguard-go", self._run, ("wireguard-go", "-f", WIREGUARD))

    def _babel(self, own: MeshIdentity) -> Supervised:
        statements = babel_configuration(own, self.babel_socket).splitlines()
        # The socket of one that was killed is in its way.
        command = ["sh", "-c", 'rm -f "$0"; exec "$@"', str(self.babel_socket)]
        command += ["babeld", "-I", "", "-S", str(self._run / "babel-state"), "-c", "/dev/null"]
        return Supervised("babeld", self._run, (*command, *(word for s in statements for word in ("-C", s))))

    async def _wireguard_started(self) -> None:
        """It knows nobody yet, and has set the device as it likes it."""
        self._begin("wireguard-go", self._tell_again())

    async def _tell_again(self) -> None:
        try:
            await self._configure({p.host_id: self._tried.get(p.host_id, "") for p in self._peers})
            await self._program(None, self.facts)
        except LinkspanError as error:
            log.error("%s", error)

    async def _babel_started(self) -> None:
        self._begin("babeld", mend(self.babel_socket))

    def _begin(self, process: str, work: Coroutine[Any, Any, None]) -> None:
        """Not to be waited for: the process is looked after meanwhile, and may end at once."""
        if before := self._after_start.get(process):
            before.cancel()
        self._after_start[process] = self._background.run(work)

    async def _configure(self, where: Mapping[str, str] | None = None) -> None:
        """Tells WireGuard who this host is and who its peers are, and `where`, or where to try them next. Raises
        Internal."""
        assert self._own
        async with self._configuring:
            heard = {key: tunnel.handshake for key, tunnel in tunnels(await self._dump()).items()}
            places = {
                **places_to_try(self._peers, heard, self._tried),
                **{i: at for i, at in (where or {}).items() if at},
            }
            self._tried.update(places)
            configuration = wireguard_configuration(self._own, self._peers, places)
            deadline = asyncio.get_running_loop().time() + _PATIENCE
            while said := (await _run("wg", "syncconf", WIREGUARD, "/dev/stdin", stdin=configuration))[0]:
                if asyncio.get_running_loop().time() > deadline:
                    words = self._wireguard().last_words() if self._kind == "tun" else ""
                    raise Internal(f"WireGuard takes no configuration: {'; '.join(filter(None, (said, words)))}")
                await asyncio.sleep(_AGAIN)

    async def view(self) -> MeshView:
        """Of a fabric that was started."""
        assert self._own and self.facts
        ways = await self._standing.look()
        found = tunnels(await self._dump()) if self._kind else {}
        return MeshView(self._own, self._kind, self.facts.mtu, self._standing.of(self._peers, ways, found))

    async def _dump(self) -> str:
        """What WireGuard says of itself and its peers; "" while it is not there."""
        return (await _run("wg", "show", WIREGUARD, "dump"))[1]

    async def _seek(self) -> None:
        """Who does not answer at one of its places is tried at the next, and so on around."""
        while True:
            await asyncio.sleep(_TRY)
            if any(len(peer.endpoints) > 1 for peer in self._peers):
                try:
                    await self._configure()
                except LinkspanError as error:
                    log.debug("%s", error)

    # -- who the others are -------------------------------------------------------------------------------------------

    def _read_peers(self) -> tuple[MeshPeer, ...]:
        with contextlib.suppress(FileNotFoundError, msgspec.DecodeError):
            return msgspec.json.decode(self._known.read_bytes(), type=tuple[MeshPeer, ...])
        return ()

    def _keep_peers(self) -> None:
        self._known.parent.mkdir(parents=True, exist_ok=True)
        new = self._known.with_suffix(".new")
        new.write_bytes(msgspec.json.encode(self._peers))
        new.replace(self._known)


def _kind_of_wireguard(kernel: Kernel) -> str:
    """Of the interface that is there; "" where there is none."""
    return next((item.kind for item in kernel.interfaces() if item.name == WIREGUARD), "")


async def _run(*command: str, stdin: str = "") -> tuple[str, str]:
    """What the command says where it fails ("" where it does not), and what it prints."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, stderr=pipe)
    printed, said = (text.decode(errors="replace").strip() for text in await process.communicate(stdin.encode()))
    return said or f"exit status {process.returncode}" if process.returncode else "", printed
