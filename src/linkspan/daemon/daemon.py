"""The daemon: what is made in which order at start, the loop that follows exits, and what is let go at the end.

Containers, their rules and their monitors outlive it. So ending it is only letting go, and starting it is always the
same: read the records, see what runs, make the kernel as it should be, start what should run.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import logging
import platform
import shutil
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from linkspan.daemon.announcing import Announcing
from linkspan.daemon.attachments import Attachments
from linkspan.daemon.background import Background, say_failure
from linkspan.daemon.bgp.bird import Bird
from linkspan.daemon.bgp.keeper import Keeper as BgpKeeper
from linkspan.daemon.bgp.keeper import end_bird
from linkspan.daemon.boot import Boot
from linkspan.daemon.cluster.cluster import Cluster, own_host
from linkspan.daemon.cluster.joining import VERSION
from linkspan.daemon.commits import Commits
from linkspan.daemon.configuration import Configuration
from linkspan.daemon.containers import Containers
from linkspan.daemon.detecting import Detecting
from linkspan.daemon.dhcp import DhcpClients
from linkspan.daemon.events import Events
from linkspan.daemon.execs import Execs
from linkspan.daemon.flannel.networks import FlannelNetworks
from linkspan.daemon.healing import Healing
from linkspan.daemon.health import HealthChecks
from linkspan.daemon.identity import engine_id, new_id, now
from linkspan.daemon.images import Images
from linkspan.daemon.launch import Launch
from linkspan.daemon.ledger import Ledger
from linkspan.daemon.lifecycle import Lifecycle
from linkspan.daemon.mesh.fabric import MeshFabric
from linkspan.daemon.mesh.register import barred
from linkspan.daemon.mesh.seat import end_store
from linkspan.daemon.moving import Moving
from linkspan.daemon.mutation import Mutation
from linkspan.daemon.names import Names
from linkspan.daemon.neighbourhood import Neighbourhood
from linkspan.daemon.networks import Networks
from linkspan.daemon.plugs import Plugs
from linkspan.daemon.programmer import Programmer
from linkspan.daemon.publishing import Publishing
from linkspan.daemon.reconcile import converge, hold_namespaces, settle_records
from linkspan.daemon.relay import Relay
from linkspan.daemon.reload import reload
from linkspan.daemon.reservations import Reservations
from linkspan.daemon.resources import Resources
from linkspan.daemon.sandbox_files import SandboxFiles
from linkspan.daemon.system import System
from linkspan.daemon.this_host import ThisHost
from linkspan.daemon.volumes import Volumes
from linkspan.engine.change import Change
from linkspan.engine.names import NameSettings
from linkspan.engine.networks import default_networks
from linkspan.engine.policy.host import Own
from linkspan.errors import Internal, LinkspanError
from linkspan.ipam.pools import ula_source
from linkspan.kernel import kernel_log
from linkspan.kernel.linux import LinuxKernel
from linkspan.model.cluster import GLOBAL, Host
from linkspan.model.container import Container
from linkspan.model.event import Event
from linkspan.model.mesh import MeshSettings
from linkspan.model.snapshot import Snapshot, drop, put
from linkspan.runtime import rootfs
from linkspan.runtime.host_facts import host_facts
from linkspan.runtime.images import ImageStore
from linkspan.runtime.processes import Processes
from linkspan.store.etcd.client import EtcdClient
from linkspan.store.sqlite import SqliteStore

if TYPE_CHECKING:
    from linkspan.daemon.mesh.mesh import Mesh

log = logging.getLogger(__name__)
SECRETS = Path("/etc/linkspan/secrets")  # NAME/KEY: what resources name by secretKeyRef


class Daemon:
    """Made by `start`, let go by `close`."""

    def __init__(self, configuration: Configuration) -> None:
        """Opens what needs no loop: folders, records, the kernel. Raises what is missing on this host."""
        self.configuration = configuration
        for folder in (configuration.data_root, configuration.exec_root):
            _make_folder(folder)
        self._namespaces = configuration.exec_root / "netns"
        self._containers_folder = configuration.data_root / "containers"
        self._containers_folder.mkdir(exist_ok=True, mode=0o711)
        self._sources = configuration.pool_sources
        if not any(source.base.version == 6 for source in self._sources):
            self._sources += (ula_source(engine_id(configuration.data_root)),)
        self._ledger = Ledger(SqliteStore(configuration.data_root / "records.db"))
        self._programmer = Programmer(
            lambda: LinuxKernel(
                self._namespaces,
                owned_table=configuration.owned_table,
                accept_mark=configuration.accept_mark,
                switch=configuration.ovs_database,
                datapath=configuration.ovs_datapath,
            )
        )
        self._neighbourhood = Neighbourhood(self._programmer, accept=configuration.forward_accept)
        self._host = ThisHost(configuration, self._ledger, self._programmer, self._namespaces)
        self._fabric = MeshFabric(
            configuration.data_root / "mesh", configuration.exec_root / "mesh", self._programmer, self._host.carry
        )
        self._relay = Relay(configuration.exec_root)
        self._events = Events()
        self._background = Background()
        self._wired = False
        self.cluster: Cluster | None = None
        self.bgp: BgpKeeper | None = None
        self.mesh: Mesh | None = None

    async def start(self) -> None:
        configuration, ledger = self.configuration, self._ledger
        self._wire()
        # First of all: what does not run any more must not hold the default bridge to its old settings.
        await settle_records(ledger, self._processes)
        await hold_namespaces(ledger, self._programmer)
        await self._host.look()
        if configuration.mesh:
            await self._join_mesh(configuration.mesh)
        else:
            await self._fabric.end()
            await end_store(configuration.data_root)
        self._join_cluster()
        bridge, facts = await self._host.default_bridge(), self._host.facts
        change = default_networks(ledger.now, bridge, self._sources, facts, (new_id(), new_id(), new_id()), now())
        ledger.commit(change.writes)
        for note in (*configuration.notes, *change.warnings):
            log.warning("%s", note)
        if self._host.facts.relay:
            self._background.keep(self._relay.run)
        steps = await self._converge()
        log.info("the kernel is as the records say (%d steps)", steps)
        if self.cluster:
            await self.cluster.start()  # from here on the kernel follows what other hosts do
            if self.mesh:
                self.mesh.run(self.cluster)
        if self.networks.flannel:
            self.networks.flannel.follow()
        if self.bgp:
            self.bgp.start()
        else:
            await end_bird(Bird(configuration.exec_root / "bgp"), self._programmer.run)
        self._names.start()  # the namespaces are there now
        await self._dhcp.start()
        await asyncio.to_thread(self._sweep_folders)
        if self._host.facts.relay:
            await self._relay.found()
        self._events.follow(self._health.heard)
        for container in self._all_containers():
            self._health.follow(container.id)
        await self._names.ready()
        healing = Healing(self._programmer, self._converge, self._look_around)
        boot = Boot(ledger, self._lifecycle, self._events, self.cluster.usable.wait if self.cluster else None)
        self._background.run(boot.run())
        for loop in (self._follow_exits, healing.run, self.reservations.run, self.moving.run):
            self._background.keep(loop)

    def reload(self, wanted: Configuration) -> None:
        """Takes over what can change while the daemon runs, and says what waits for its next start."""
        found = reload(self.configuration, wanted)
        self.configuration = found.configuration
        self.images.trust(found.configuration.insecure_registries)
        for names, text in ((found.taken, "taken over"), (found.waiting, "waiting for a restart of linkspand")):
            if names:
                log.warning("configuration reloaded: %s: %s", text, ", ".join(names))
        if self.cluster and "labels" in found.taken:
            self.cluster.restate(labels=_labels(found.configuration))
            self.networks.own_host = self.cluster.own
        if self.bgp:
            self.bgp.look_again()
        attributes = {"name": platform.node(), "labels": json.dumps(found.configuration.labels)}
        attributes["insecure-registries"] = json.dumps(found.configuration.insecure_registries)
        attributes["debug"] = str(found.configuration.log_level == "debug").lower()
        self._events.publish(Event(kind="daemon", action="reload", id=platform.node(), attributes=attributes))

    def look_over(self) -> None:
        """Makes the kernel as the records say, now: for whoever does not want to rely on our noticing."""

        async def converge_and_say() -> None:
            try:
                log.info("looked over: %d steps to the kernel as the records say", await self._converge())
            except LinkspanError as error:
                log.error("the kernel cannot be made as the records say: %s", error)

        self._background.run(converge_and_say())

    async def _converge(self) -> int:
        await self._neighbourhood.look()
        await self._host.look_at_switch()
        facts = dataclasses.replace(self._host.facts, neighbours=self._neighbourhood.now)
        steps = await converge(self._ledger, self._programmer, self._host.drivers, lambda: facts)
        if await self._host.has_moved():
            steps += await converge(self._ledger, self._programmer, self._host.drivers, lambda: facts)
        if facts.neighbours.dropping:
            await self._neighbourhood.look()  # what could not be put there is said
        return steps

    async def _card_moved(self) -> None:
        if await self._host.has_moved():
            self.look_over()

    async def _look_around(self) -> None:
        """Another firewall has changed."""
        if await self._neighbourhood.look():
            await self._converge()

    def _wire(self) -> None:
        configuration, ledger, events = self.configuration, self._ledger, self._events
        host = lambda: self._host.facts  # noqa: E731 - it changes as the host does
        self._processes = Processes(configuration.exec_root)
        self._attachments = Attachments(self._processes)
        self.volumes = Volumes(ledger, events, configuration.data_root / "volumes")
        settings = NameSettings(
            configuration.dns, configuration.dns_search, configuration.dns_options, configuration.host_dns
        )
        files = SandboxFiles(self._containers_folder, settings, configuration.host_gateway_ips)
        announcing = Announcing(self._programmer, self._background.run, lambda id_: id_ in ledger.now.endpoints)

        def follow(before: Snapshot, after: Snapshot, containers: Collection[str]) -> None:
            files.follow(before, after, containers)
            announcing.follow(before, after, containers)
            self._dhcp.follow(before, after, containers)
            if self.networks.flannel and before.networks is not after.networks:
                self.networks.flannel.follow(before)
            if self.bgp:
                self.bgp.follow(before, after)
            if self.mesh and before.hosts is not after.hosts:
                self.mesh.follow()

        self._names = Names(ledger, settings, configuration.exec_root, self._namespaces)
        self._mutation = mutation = Mutation(
            ledger, self._programmer, self._host.drivers, events, follow, self._names.follow, self._card_moved, host
        )
        mutation.detecting = detecting = Detecting()
        mutation.unsettled = self.look_over
        launch = Launch(
            ledger,
            self._processes,
            self._attachments,
            files,
            self.volumes,
            folder=self._containers_folder,
            cgroup_parent=configuration.cgroup_parent,
            host_facts=host_facts(),
        )
        self._lifecycle = Lifecycle(
            ledger, mutation, launch, events, drivers=self._host.drivers, host=host, occupied=lambda: detecting.occupied
        )
        self._execs = Execs(ledger, self._processes, self._lifecycle)
        self._health = HealthChecks(ledger, self._lifecycle, self._execs)
        store = ImageStore(
            configuration.data_root / "images",
            insecure_registries=configuration.insecure_registries,
        )
        self.images = Images(store, containers=self._all_containers, emit=events.publish)
        self.containers = Containers(
            ledger,
            self._lifecycle,
            launch,
            self._attachments,
            self._execs,
            self.images,
            self._programmer,
            mutation,
            default_log=configuration.container_log,
        )
        self.publishing = Publishing(ledger, mutation, self._lifecycle)
        self._dhcp = DhcpClients(ledger, mutation, self._lifecycle, configuration.data_root / "dhcp")
        self.plugs = Plugs(
            ledger,
            mutation,
            self._lifecycle,
            self._dhcp,
            host=host,
            look_again=self._host.look,
        )
        self.commits = Commits(ledger, self._lifecycle, self.images)
        self.networks = Networks(
            ledger,
            mutation,
            self._programmer,
            self._lifecycle,
            drivers=self._host.drivers,
            sources=self._sources,
            options=configuration.network_options,
            publish=events.publish,
            host=host,
            look_again=self._host.look,
        )
        whole = lambda id_: self.networks.whole(id_)  # noqa: E731 - it becomes the cluster's
        self.reservations = Reservations(ledger, mutation, host, whole)
        self.resources = Resources(ledger, mutation, host, self._own, whole, kernel_log.hidden)
        self.moving = Moving(ledger, mutation, self._lifecycle, self.containers, self.images, host)
        self.system = System(
            ledger, events, lambda: self.configuration, self._neighbourhood, lambda: len(self.images.views())
        )
        self._wired = True

    def _own(self) -> Own:
        """This host as policies about its interfaces see it."""
        interfaces = {
            found.name: frozenset(address.partition("/")[0] for address in found.addresses)
            for found in self._host.facts.interfaces
            if not (found.ours or found.loopback)
        }
        ports = [int(host.rpartition(":")[2]) for host in self.configuration.hosts if host.startswith("tcp://")]
        host = self.networks.own_host or Host(id=self._host.facts.host_id, name=platform.node())
        return Own(host, interfaces, tuple(ports))

    def _all_containers(self) -> list[Container]:
        return list(self._ledger.now.containers.values())

    def _join_cluster(self) -> None:
        configuration, underlay = self.configuration, self._host.facts.underlay
        labels = _labels(configuration)
        if self.mesh:
            etcd, address = self.mesh.etcd, self.mesh.address
            own = msgspec.structs.replace(self.mesh.own_host(), labels=labels)
        elif configuration.cluster and underlay:
            etcd, address = EtcdClient(configuration.cluster, configuration.cluster_tls), configuration.cluster
            own = own_host(self._host.facts.host_id, platform.node(), underlay, now(), labels)
        else:
            self._forget_cluster()
            return
        self.cluster = Cluster(
            etcd,
            str(address),
            f"{address.prefix}/{VERSION}/",
            own,
            now=lambda: self._ledger.now,
            follow=self._mutation.take_over,
            change=lambda writes: self._mutation.carry_out(Change(tuple(writes))),
            evict=self.networks.evict,
            settled=lambda: self._ledger.told,
            interfaces=self.configuration.cluster_interfaces,
            everything=self.configuration.host_dns is not None,  # the host may ask for anybody's name
            barred=barred(own.id) if self.mesh else "",
        )
        self._mutation.cluster = self.cluster
        self.networks.whole = self.cluster.whole
        self.networks.own_host = own
        self.networks.flannel = FlannelNetworks(
            etcd,
            self._host.flannels,
            configuration.exec_root,
            now=lambda: self._ledger.now,
            take_over=self._mutation.take_over,
        )
        self._mutation.part = self.networks.flannel.ready
        if configuration.bgp != "off":
            self.bgp = BgpKeeper(
                configuration.bgp,
                configuration.exec_root / "bgp",
                SECRETS,
                lambda: self.cluster.own if self.cluster else own,
                now=lambda: self._ledger.now,
                run=self._programmer.run,
            )

    async def _join_mesh(self, settings: MeshSettings) -> None:
        from linkspan.daemon.mesh.mesh import Mesh  # and with it 10 MB of cryptography, for those who need it

        self.mesh = Mesh(
            settings,
            self.configuration.data_root,
            self._fabric,
            host_id=engine_id(self.configuration.data_root),
            name=platform.node(),
            now=lambda: self._ledger.now,
            record=lambda hosts: self._ledger.commit([*map(put, hosts)]),
        )
        await self.mesh.start(self._host.facts)
        self._host.meshed(self.mesh.host_id, self.mesh.underlay)
        await self._host.look()

    def _forget_cluster(self) -> None:
        """A host that is in no cluster has no use for what it knew of one; its own endpoints there end as they are."""
        snapshot = self._ledger.now
        unused = [n for n in snapshot.networks.values() if n.scope == GLOBAL and n.id not in snapshot.endpoints_on]
        journeys = (*snapshot.moves.values(), *snapshot.arrivals.values())
        records = (*snapshot.remotes.values(), *snapshot.blocks.values(), *snapshot.reservations.values())
        of_cluster = [r for r in records if (n := snapshot.networks.get(r.network_id)) is None or n.scope == GLOBAL]
        subnets = [s for n in unused for s in snapshot.subnets_at(n)]
        of_cluster += snapshot.subscriptions.values()
        gone = (*journeys, *of_cluster, *subnets, *snapshot.hosts.values(), *unused)
        self._ledger.commit([*map(drop, gone)])

    # -- the loop -----------------------------------------------------------------------------------------------------

    async def _follow_exits(self) -> None:
        """Each end of a process is dealt with in a task of its own: one that hangs holds up nobody else."""
        async for exit_ in self._processes.exits():
            if exit_.exec_id:
                self._execs.exited(exit_)
                continue
            self._execs.forget(exit_.id)
            self._lifecycle.begin(self._lifecycle.exited(exit_)).add_done_callback(say_failure)

    def _sweep_folders(self) -> None:
        """Folders of containers that have no record: their creation or removal was cut short."""
        for folder in self._containers_folder.iterdir():
            if folder.name not in self._ledger.now.containers:
                rootfs.unmount(folder)
                shutil.rmtree(folder, ignore_errors=True)

    async def close(self) -> None:
        """Lets go. Containers run on, and so do their published ports."""
        if not any(endpoint.bindings for endpoint in self._ledger.now.endpoints.values()):
            self._relay.end()
        await self._background.end()
        if self._wired:
            if self.networks.flannel:
                await self.networks.flannel.close()
            if self.bgp:
                await self.bgp.close()
            if self.mesh:
                await self.mesh.close()
            if self.cluster:
                await self.cluster.close()
            await self._health.close()
            await self._dhcp.close()
            await self._lifecycle.close()
            await self._names.close()
            self._processes.close()
        self._programmer.close()
        self._ledger.close()

    def publish(self, event: Event) -> None:
        self._events.publish(event)


def _labels(configuration: Configuration) -> dict[str, str]:
    return dict(label.split("=", 1) for label in configuration.labels)


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o711)
    except OSError as error:
        raise Internal(f"cannot make {folder}: {error.strerror}") from error
