"""At start, and whenever the kernel has drifted: what runs, what the kernel holds, and what it should.

Written for a daemon with an empty memory. The records say what was meant, the runtime's folders what runs, the kernel
what is there; from these three everything follows, whether the last daemon ended well, was killed half-way through a
change, or the machine was switched off.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import msgspec

from linkspan.containers import lifecycle as rules
from linkspan.daemon.identity import now, timestamp
from linkspan.daemon.ledger import Ledger
from linkspan.daemon.programmer import Programmer
from linkspan.engine.join import leave, sandbox_owner
from linkspan.engine.render import Drivers, render_all
from linkspan.errors import PortUnavailable
from linkspan.kernel.contract import Kernel
from linkspan.model.container import Container
from linkspan.model.snapshot import put
from linkspan.runtime.processes import Processes, Status
from linkspan.state.host import HostFacts
from linkspan.state.objects import BoundPort, Key, Sysctl
from linkspan.state.plan import Delete, Plan, diff, grounds, without_ground
from linkspan.state.switch import OvsBridge, OvsPort, OvsUplink, SwitchFacts

log = logging.getLogger(__name__)
UNKNOWN_EXIT = 255  # nobody saw the process end: the machine went down


async def settle_records(ledger: Ledger, processes: Processes) -> None:
    """The records follow what really runs; what never came about, or has ended, gives back its network."""
    for container in ledger.now.containers.values():
        status = await processes.state(container.id)
        if container.state.running and status.phase in ("running", "paused"):
            state = msgspec.structs.replace(container.state, status=status.phase, pid=status.pid)
            if state != container.state:
                ledger.commit([put(msgspec.structs.replace(container, state=state))])
        elif container.state.running:
            ledger.commit([put(_ended(container, status))])
            await processes.delete(container.id)
        elif status.phase != "absent":
            # Made, and the daemon ended before it was recorded as running: that start was never acknowledged.
            await processes.delete(container.id)
    for container in ledger.now.containers.values():
        if not container.state.running:
            ledger.commit(leave(ledger.now, container).writes)
    for endpoint in ledger.now.endpoints.values():
        if endpoint.container_id not in ledger.now.containers:
            log.error("endpoint %s belongs to no container", endpoint.id)


async def hold_namespaces(ledger: Ledger, programmer: Programmer) -> None:
    """Sandboxes whose namespaces' files somebody has removed meanwhile are found again by what runs in them."""
    snapshot = ledger.now
    found: dict[str, int] = {}
    for container in snapshot.containers.values():
        sandbox = snapshot.sandbox(sandbox_owner(snapshot, container))
        if container.state.running and sandbox and sandbox.kind != "host":
            found[sandbox.path] = container.state.pid
    await programmer.run(lambda kernel: kernel.hold(found))


def _ended(container: Container, status: Status) -> Container:
    if status.exit_code is None and rules.ending_known(container):
        # The last daemon saw it end, and was killed while it took away what was left.
        return rules.exited(
            container, container.state.exit_code, container.state.finished_at, oom=container.state.oom_killed
        )
    code = UNKNOWN_EXIT if status.exit_code is None else status.exit_code
    finished = timestamp(int(status.finished * 1e9)) if status.finished else now()
    return rules.exited(container, code, finished, oom=status.oom)


async def converge(ledger: Ledger, programmer: Programmer, drivers: Drivers, host: Callable[[], HostFacts]) -> int:
    """Makes the kernel as the records say: everything rendered, everything of ours read, the difference applied.

    Answers the number of steps taken. A host port that cannot be had (somebody else took it meanwhile, or its address
    is gone) is said, and left: the rest of the host must not wait for it. Nor for an interface of the host's that
    something stands on.
    """
    facts = host()

    def apply(kernel: Kernel) -> int:
        desired = render_all(ledger.now, drivers, facts)
        sysctls = [(o.namespace, o.name) for o in desired.values() if isinstance(o, Sysctl)]
        parents = grounds(desired)
        switched = any(isinstance(item, (OvsBridge, OvsUplink, OvsPort)) for item in desired.values())
        kernel.expect(parents, switch=switched)  # before looking whether they are there, so that none comes unnoticed

        def difference() -> Plan:
            there = {interface.name: interface.up for interface in kernel.interfaces()} if parents else {}
            up = {name for name, is_up in there.items() if is_up}
            switch = kernel.switch() if switched else SwitchFacts("")
            if switch.problem:
                log.error("%s: what is on it is made when it runs", switch.problem)
            bridges = None if switch.problem else dict(switch.bridges)
            actual, wanted, lacking = without_ground(kernel.read(sysctls), desired, there, up, switch=bridges)
            for name in lacking:
                what = "is down" if name in there else "is not there"
                log.error("interface %s of this host %s: what stands on it is made when it is back", name, what)
            return diff(actual, wanted)

        plan = difference()
        try:
            kernel.apply(plan)
            return len(plan)
        except PortUnavailable:
            taken, refused = _take_ports(kernel, plan)
        for key in refused:
            del desired[key]
        rest = difference()
        kernel.apply(rest)
        return taken + len(rest)

    return await programmer.run(apply)


def _take_ports(kernel: Kernel, plan: Plan) -> tuple[int, list[Key]]:
    """The plan's steps with ports, each by itself: thousands may fail, and none for another's sake.

    Answers how many were taken, and the ports that could not be had.
    """
    taken, refused = 0, []
    for step in plan:
        port = step.before if isinstance(step, Delete) else step.after
        if not isinstance(port, BoundPort):
            continue
        try:
            kernel.apply(Plan((step,)))
            taken += 1
        except PortUnavailable as error:
            refused.append(port.key)
            log.error("%s (traffic to it is still sent on to its container, and everything else goes on)", error)
    return taken, refused
