"""Worker: our engine wired as the daemon wires it, from the decision to the kernel, without HTTP and containers.

What is timed is what a starting container waits for: the decision (address, MAC, ports), the commit to SQLite with
fsync, rendering both states, their difference, the hop to the kernel thread, and there the namespace, the veth pair,
its addresses and routes, the reserved host ports and the one transaction of elements.
"""

from __future__ import annotations

import asyncio
import resource
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.worker import serve
from linkspan.daemon.events import Events
from linkspan.daemon.identity import new_id, now
from linkspan.daemon.ledger import Ledger
from linkspan.daemon.mutation import Mutation
from linkspan.daemon.programmer import Programmer
from linkspan.daemon.reconcile import converge
from linkspan.drivers.available import DRIVERS
from linkspan.engine.bridges import DefaultBridge
from linkspan.engine.change import Change
from linkspan.engine.join import Surroundings, join, leave
from linkspan.engine.networks import default_networks
from linkspan.engine.publish import publish, withdraw
from linkspan.ipam.ports import PortSpace
from linkspan.kernel.contract import Kernel
from linkspan.kernel.linux import LinuxKernel
from linkspan.model.container import Config, Container, EndpointSettings, HostConfig, PortBinding
from linkspan.model.port import parse_withdrawal
from linkspan.model.snapshot import Snapshot, Write, put
from linkspan.state.host import HostFacts
from linkspan.state.plan import Plan, Step
from linkspan.store.sqlite import SqliteStore

SUBNET = "10.90.0.1/16"


class Stopwatch:
    """Seconds by phase, of the call at hand."""

    def __init__(self) -> None:
        self.phases: dict[str, float] = defaultdict(float)

    def add(self, phase: str, since: float) -> None:
        self.phases[phase] += time.perf_counter() - since


class TimedKernel(LinuxKernel):
    def __init__(self, namespaces: Path, watch: Stopwatch) -> None:
        super().__init__(namespaces)
        self._stopwatch = watch

    def apply(self, plan: Plan) -> None:
        since = time.perf_counter()
        super().apply(plan)
        self._stopwatch.add("apply", since)

    def _take_together(self, steps: list[Step]) -> None:
        since = time.perf_counter()
        super()._take_together(steps)
        subject = getattr(steps[0], "after", None) or getattr(steps[0], "before", None)
        self._stopwatch.add(f"apply: {type(subject).__name__}", since)


class TimedLedger(Ledger):
    def __init__(self, path: Path, watch: Stopwatch) -> None:
        super().__init__(SqliteStore(path))
        self._stopwatch = watch

    def commit(self, writes: Sequence[Write], *, durable: bool = True) -> Snapshot:
        since = time.perf_counter()
        before = super().commit(writes, durable=durable)
        self._stopwatch.add("commit", since)
        return before


class Engine:
    def __init__(self, folder: Path) -> None:
        self._loop = asyncio.new_event_loop()
        self._stopwatch = Stopwatch()
        namespaces = folder / "netns"
        self._drivers = DRIVERS
        self._host = HostFacts(namespaces=str(namespaces))
        self._ledger = TimedLedger(folder / "records.db", self._stopwatch)

        def make() -> Kernel:
            return TimedKernel(namespaces, self._stopwatch)

        self._programmer = Programmer(make)
        bridge = DefaultBridge(bip=SUBNET)
        change = default_networks(self._ledger.now, bridge, (), self._host, (new_id(), new_id(), new_id()), now())
        self._ledger.commit(change.writes)
        self._loop.run_until_complete(converge(self._ledger, self._programmer, self._drivers, lambda: self._host))
        self._mutation = Mutation(self._ledger, self._programmer, self._drivers, Events(), lambda *_: None)
        self._network = self._ledger.now.network("bridge")

    def attach(self, ports: Sequence[int]) -> dict[str, Any]:
        """A new container's sandbox on the bridge, with these host ports published: its id, seconds and phases."""
        container = self._container(ports)
        self._ledger.commit([put(container)])  # `docker create`'s, not part of the attachment
        return {"id": container.id, **self._timed(lambda: self._join(container))}

    def detach(self, id: str) -> dict[str, Any]:
        container = self._ledger.now.containers[id]
        return self._timed(lambda: leave(self._ledger.now, container, removed=True))

    def publish(self, id: str, port: int) -> dict[str, Any]:
        """One more port of a container that is there, as `linkspan publish` does it."""
        container = self._ledger.now.containers[id]
        wanted = {"80/tcp": (PortBinding(host_port=str(port)),)}
        return self._timed(lambda: publish(self._ledger.now, container, wanted, PortSpace()))

    def unpublish(self, id: str, port: int) -> dict[str, Any]:
        """Takes it away again."""
        container, wanted = self._ledger.now.containers[id], [parse_withdrawal(f"{port}:80")]
        return self._timed(lambda: withdraw(self._ledger.now, container, wanted, PortSpace()))

    def _timed(self, decide: Any) -> dict[str, Any]:
        async def run() -> float:
            start = time.perf_counter()
            change = decide()
            self._stopwatch.add("decide", start)
            await self._mutation.carry_out(change)
            return time.perf_counter() - start

        self._stopwatch.phases.clear()
        seconds = self._loop.run_until_complete(run())
        phases = dict(self._stopwatch.phases)
        apart = phases.get("decide", 0) + phases.get("commit", 0) + phases.get("apply", 0)
        phases["render, diff, thread hop"] = seconds - apart
        return {"seconds": seconds, "phases": phases}

    def _join(self, container: Container) -> Change:
        space = PortSpace(*self._host.ephemeral_ports)
        around = Surroundings(self._drivers, self._host.namespaces, space, (new_id(), new_id()))
        return join(self._ledger.now, container, around)

    def _container(self, ports: Sequence[int]) -> Container:
        id_ = new_id()
        bindings = {f"{port}/tcp": (PortBinding(host_port=str(port)),) for port in ports}
        return Container(
            id=id_,
            name=id_[:12],
            created=now(),
            image_id="bench",
            config=Config(image="bench"),
            host_config=HostConfig(network_mode="default", port_bindings=bindings),
            networks={self._network.id: EndpointSettings()},
        )


def main() -> None:
    _, limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    engine = Engine(Path(sys.argv[1]))
    serve({name: getattr(engine, name) for name in ("attach", "detach", "publish", "unpublish")})


if __name__ == "__main__":
    main()
