"""`linkspan flannel`: a host's end of a flannel network, without linkspand.

The containers are a Docker's, which is configured from subnet.env. What is made here stays when this program ends, as
with flanneld: packets go on, and the lease holds for a day. The next one takes it over.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
from pathlib import Path

from linkspan import __version__
from linkspan.daemon.flannel.flags import Options, help_text, parse
from linkspan.daemon.flannel.keeper import Keeper, View
from linkspan.daemon.flannel.place import describe, find_underlay
from linkspan.daemon.flannel.registry import Registry
from linkspan.daemon.flannel.tunnel import TunnelSettings, UdpTunnel, tunnel_settings
from linkspan.daemon.healing import Healing
from linkspan.daemon.neighbourhood import Neighbourhood
from linkspan.daemon.programmer import Programmer
from linkspan.daemon.systemd import notify_systemd
from linkspan.drivers.flannel import Part, off_link, render_part, render_way
from linkspan.engine.render import render_host
from linkspan.errors import Conflict, LinkspanError
from linkspan.kernel.contract import Kernel
from linkspan.kernel.linux import LinuxKernel
from linkspan.model.flannel import FlannelConfig, Lease, previous_subnets, subnet_file
from linkspan.state.host import HostFacts
from linkspan.state.objects import KernelObject, Key, Sysctl, state_of
from linkspan.state.plan import diff, grounds, without_ground
from linkspan.store.etcd.client import EtcdClient

log = logging.getLogger("linkspan")
OWNER = "flannel"
_PAUSE = 1.0  # seconds, after what could not be made


def main() -> None:
    """The command. Exit status 1, with one line on standard error, where it cannot start."""
    logging.basicConfig(level="INFO", format="%(levelname)s %(message)s", stream=sys.stderr)
    try:
        options = parse(sys.argv[1:], os.environ)
        if isinstance(options, str):
            print(help_text() if options == "help" else f"linkspan version {__version__}")
            return
        if os.geteuid() != 0:
            raise Conflict("linkspan flannel makes routes and network devices: it has to be started as root")
        asyncio.run(_serve(options))
    except LinkspanError as error:
        print(f"linkspan flannel: {error}", file=sys.stderr)
        sys.exit(1)
    except OSError as error:  # a folder that cannot be written, say
        where = f"{error.filename}: " if error.filename else ""
        print(f"linkspan flannel: {where}{error.strerror or error}", file=sys.stderr)
        sys.exit(1)


async def _serve(options: Options) -> None:
    agent = Agent(options)
    try:
        if options.remove:
            await agent.remove()
            return
        work = asyncio.ensure_future(agent.run())
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, work.cancel)
        with contextlib.suppress(asyncio.CancelledError):
            await work
    finally:
        await agent.close()


class Agent:
    def __init__(self, options: Options) -> None:
        """Raises what is missing on this host."""
        self._options = options
        options.run_dir.mkdir(parents=True, exist_ok=True)
        self._etcd = EtcdClient(options.cluster, options.tls)
        self._programmer = Programmer(lambda: LinuxKernel(options.run_dir / "netns"))
        self._neighbourhood = Neighbourhood(self._programmer, accept=options.forward)
        self._tunnel_socket = options.run_dir / "udp.sock"
        self._tunnel: UdpTunnel | None = None
        self._tunnel_task: asyncio.Task[None] | None = None
        self._view: View | None = None
        self._stirred = asyncio.Event()
        self._written = ""
        self._passed_over: tuple[Lease, ...] = ()

    async def run(self) -> None:
        """Until cancelled."""
        options = self._options
        self._underlay = await self._programmer.run(
            lambda kernel: find_underlay(kernel, options.interfaces, options.patterns)
        )
        log.info("other hosts reach this one at %s on %s", self._underlay.address, self._underlay.interface)
        keeper = Keeper(
            Registry(self._etcd, options.prefix),
            self._describe,
            previous=_previous(options.subnet_file),
            changed=self._changed,
            margin=options.margin,
        )
        healing = Healing(self._programmer, self._converge, self._look_around)
        async with asyncio.TaskGroup() as together:
            together.create_task(keeper.run())
            await keeper.first.wait()
            together.create_task(self._follow())
            together.create_task(healing.run())

    async def remove(self) -> None:
        """Everything of ours on this host, and the lease."""
        options = self._options
        await self._programmer.run(lambda kernel: kernel.apply(diff(kernel.read(), {})))
        await UdpTunnel(self._tunnel_socket, TunnelSettings("", "", 0, "", 0)).end()
        underlay = await self._programmer.run(
            lambda kernel: find_underlay(kernel, options.interfaces, options.patterns)
        )
        public_ip = options.public_ip or underlay.address
        registry = Registry(self._etcd, options.prefix)
        for entry in (await registry.list()).entries.values():
            if entry.lease.public_ip == public_ip and not entry.lease.reserved:
                await registry.delete(entry)
        options.subnet_file.unlink(missing_ok=True)

    async def close(self) -> None:
        if self._tunnel_task:
            self._tunnel_task.cancel()
        await self._etcd.close()
        self._programmer.close()

    # --- following the leases

    def _describe(self, config: FlannelConfig) -> Lease:
        return describe(config, self._underlay, self._options.public_ip, self._options.public_ip6)

    def _changed(self, view: View) -> None:
        self._view = view
        self._stirred.set()

    async def _follow(self) -> None:
        ready = False
        while True:
            await self._stirred.wait()
            self._stirred.clear()
            try:
                await self._look_around_first()
                await self._converge()
            except LinkspanError as error:
                log.error("%s", error)
                self._stirred.set()
                await asyncio.sleep(_PAUSE)
                continue
            self._write_subnet_file()
            if not ready:
                ready = True
                log.info("linkspan %s: flannel is ready", __version__)
                notify_systemd("READY=1")

    async def _look_around_first(self) -> None:
        if self._view and not self._written:
            await self._neighbourhood.look()

    async def _look_around(self) -> None:
        """Another firewall has changed."""
        if await self._neighbourhood.look():
            await self._converge()

    async def _converge(self) -> int:
        """Makes the kernel as the leases say; answers the number of steps."""
        view = self._view
        assert view is not None
        part = self._part(view)
        facts = HostFacts(
            namespaces=str(self._options.run_dir / "netns"),
            forward_accept=self._options.forward,
            neighbours=self._neighbourhood.now,
        )

        def apply(kernel: Kernel) -> int:
            desired = _rendered(part, view.others, facts)
            kernel.expect(grounds(desired))  # before looking whether they are there
            there = {item.name: item.up for item in kernel.interfaces()}
            up = {name for name, is_up in there.items() if is_up}
            settings = [(item.namespace, item.name) for item in desired.values() if isinstance(item, Sysctl)]
            actual, wanted, lacking = without_ground(kernel.read(settings), desired, there, up)
            for name in lacking:
                log.error("interface %s is not there, or down: routes over it wait for it", name)
            plan = diff(actual, wanted)
            kernel.apply(plan)
            return len(plan)

        steps = await self._programmer.run(apply)
        self._tell_off_link(off_link(part, view.others))
        await self._follow_tunnel(part, view)
        return steps

    def _part(self, view: View) -> Part:
        return Part(OWNER, view.config, view.own, self._underlay, self._options.masquerade)

    def _tell_off_link(self, leases: tuple[Lease, ...]) -> None:
        for lease in leases:
            if lease not in self._passed_over:
                log.error(
                    "backend host-gw: %s of %s cannot be reached: that host is behind a router",
                    lease.subnet,
                    lease.public_ip,
                )
        self._passed_over = leases

    async def _follow_tunnel(self, part: Part, view: View) -> None:
        settings = tunnel_settings(part) if part.config.backend.type == "udp" else None
        if self._tunnel and self._tunnel.settings != settings:
            assert self._tunnel_task
            self._tunnel_task.cancel()
            await self._tunnel.end()
            self._tunnel = None
        if settings and not self._tunnel:
            self._tunnel = UdpTunnel(self._tunnel_socket, settings)
            self._tunnel_task = asyncio.create_task(self._tunnel.run())
        if self._tunnel:
            self._tunnel.set_routes(tuple((lease.subnet, lease.public_ip) for lease in view.others))

    def _write_subnet_file(self) -> None:
        assert self._view
        view, path = self._view, self._options.subnet_file
        mtu = self._part(view).mtu
        text = subnet_file(view.config, view.own, mtu, masquerade=self._options.masquerade)
        if text == self._written:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        passing = path.with_name(f".{path.name}")
        passing.write_text(text)
        passing.rename(path)  # so that nobody reads half of it
        if self._written:
            log.error("%s has changed: Docker has to be started anew", path)
        self._written = text


def _rendered(part: Part, others: tuple[Lease, ...], facts: HostFacts) -> dict[Key, KernelObject]:
    return state_of(
        [*render_host(facts), *render_part(part), *(o for lease in others for o in render_way(part, lease))]
    )


def _previous(path: Path) -> tuple[str, str]:
    try:
        return previous_subnets(path.read_text(errors="replace"))
    except OSError:
        return "", ""
