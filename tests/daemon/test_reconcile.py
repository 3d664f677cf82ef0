"""A daemon that starts makes of the kernel what can be made of it: a port that cannot be had holds up nothing else."""

from __future__ import annotations

import pytest

from linkspan.engine.join import join
from linkspan.engine.render import render_all
from linkspan.kernel.contract import Interface
from linkspan.kernel.fake import FakeKernel
from linkspan.state.objects import BoundPort
from tests.daemon.test_mutation import Bench, run
from tests.engine.conftest import DRIVERS, HOST


class Counting(FakeKernel):
    reads = 0

    def read(self, *arguments: object) -> object:  # type: ignore[override]
        self.reads += 1
        return super().read(*arguments)  # type: ignore[arg-type]


def test_ports_that_cannot_be_had_hold_up_nothing_else(caplog: pytest.LogCaptureFixture) -> None:
    eth0 = Interface(2, "eth0", "", "02:00:00:00:00:01", 1500, True, False, addresses=("10.0.0.1/24",))
    gone = [BoundPort("tcp", "10.9.9.9", 9000 + number) for number in range(50)]
    taken = BoundPort("tcp", "0.0.0.0", 8080)
    kernel = Counting(host=[eth0], taken=[taken])

    async def steps(bench: Bench) -> None:
        where = {f"{port.port}_tcp": f"{port.address}:{port.port}" for port in gone}
        web = bench.container("web", **where, **{"80_tcp": "8080", "81_tcp": "10.0.0.1:8081"})
        bench.ledger.commit(join(bench.ledger.now, web, bench.world.around()).writes)
        taken_steps = await bench.converge()
        wanted = render_all(bench.ledger.now, DRIVERS, HOST)
        for port in (taken, *gone):
            del wanted[port.key]
        assert dict(bench.kernel.state) == wanted
        assert taken_steps == len(wanted)
        assert kernel.reads == 2 and len(kernel.applied) == 1 + 52 + 1  # not again for each port that fails
        assert await bench.converge() == 0
        # What can be had again is.
        kernel.taken.clear()
        kernel.host[0] = Interface(2, "eth0", "", "", 1500, True, False, addresses=("10.0.0.1/24", "10.9.9.9/24"))
        assert await bench.converge() == 51
        assert bench.as_recorded()

    run(steps, kernel)
    said = [record.message for record in caplog.records]
    assert (
        "failed to bind host port 10.9.9.9:9000/tcp: cannot assign requested address "
        "(traffic to it is still sent on to its container, and everything else goes on)" in said
    )
    assert any(
        words.startswith("failed to bind host port 0.0.0.0:8080/tcp: address already in use (") for words in said
    )


def test_a_port_moves_while_another_cannot_be_had() -> None:
    """What stands in its way goes first, although all ports are now taken one by one."""

    async def steps(bench: Bench) -> None:
        web = bench.container("web", **{"80_tcp": "127.0.0.1:8080", "81_tcp": "10.9.9.9:8081"})
        bench.ledger.commit(join(bench.ledger.now, web, bench.world.around()).writes)
        stale = BoundPort("tcp", "0.0.0.0", 8080)
        bench.kernel.state[stale.key] = stale
        await bench.converge()
        ports = {item for item in bench.kernel.state.values() if isinstance(item, BoundPort)}
        assert ports == {BoundPort("tcp", "127.0.0.1", 8080)}

    run(steps)
