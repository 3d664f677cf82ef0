"""Removal by force, where the process is dead and the daemon has not dealt with its end yet."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest

from linkspan.containers import lifecycle as rules
from linkspan.daemon.events import Events
from linkspan.daemon.launch import Launch
from linkspan.daemon.lifecycle import Lifecycle
from linkspan.errors import Conflict
from linkspan.model.container import Container
from linkspan.model.snapshot import Write, put
from linkspan.runtime.processes import Exit
from tests.daemon.test_mutation import Bench, run
from tests.engine.conftest import DRIVERS, HOST


class DeadProcesses:
    """As `Processes` answers for a process that is a zombie."""

    async def kill(self, id: str, signal: int) -> None:
        raise Conflict(f"Container {id} is not running")


class Nothing:
    """A launch that has made nothing."""

    processes = DeadProcesses()

    async def stop(self, container: Container) -> None:
        pass

    async def remove(self, container: Container) -> None:
        pass

    async def remove_anonymous_volumes(self, container: Container) -> list[Write]:
        return []


@pytest.mark.timeout(30)
def test_the_end_that_is_on_its_way_gets_its_turn() -> None:
    async def steps(bench: Bench) -> None:
        launch = cast(Launch, Nothing())
        life = Lifecycle(bench.ledger, bench.mutation, launch, Events(), drivers=DRIVERS, host=lambda: HOST)
        made = bench.container("dying")
        running = rules.started(made, 4242, "2026-01-01T00:00:00Z")
        bench.ledger.commit([put(running)])
        removing = asyncio.create_task(life.remove(made.id, force=True, volumes=False))
        await asyncio.sleep(0)  # it holds up nobody while it waits
        await life.exited(Exit(id=made.id, exec_id=None, code=137))
        await asyncio.wait_for(removing, 5)
        assert made.id not in bench.ledger.now.containers

    run(steps)
