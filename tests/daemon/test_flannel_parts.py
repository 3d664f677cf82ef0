"""A container that starts on a network of which this host is just getting its part waits for it, once."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from linkspan.daemon.host_ports import carry_out
from linkspan.daemon.mutation import Mutation
from linkspan.engine.change import Change
from linkspan.engine.join import NoPart
from linkspan.model.container import Config, Container, HostConfig
from linkspan.model.network import Network

NETWORK = Network(id="n", name="fl", driver="flannel", created="")
CONTAINER = Container(id="c", name="c", created="", image_id="", config=Config(), host_config=HostConfig())


class Carrying(Mutation):
    def __init__(self) -> None:
        self.waited: list[str] = []
        self.done: list[Change] = []
        self.part = self.comes

    async def comes(self, network_id: str) -> None:
        self.waited.append(network_id)

    @contextlib.asynccontextmanager
    async def turn(self, container: Container) -> AsyncIterator[None]:
        yield

    async def carry_out(self, change: Change) -> None:
        self.done.append(change)


def test_it_waits_for_the_part_and_goes_on() -> None:
    mutation, change = Carrying(), Change()

    def decide(_: object) -> Change:
        if not mutation.waited:
            raise NoPart(NETWORK)
        return change

    assert asyncio.run(carry_out(mutation, CONTAINER, decide)) is change
    assert (mutation.waited, mutation.done) == (["n"], [change])


def test_it_does_not_wait_for_ever() -> None:
    mutation = Carrying()

    def decide(_: object) -> Change:
        raise NoPart(NETWORK)

    with pytest.raises(NoPart, match="network fl: this host has no subnet of it yet"):
        asyncio.run(carry_out(mutation, CONTAINER, decide))
    assert mutation.waited == ["n"] and not mutation.done
