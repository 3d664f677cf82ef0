"""A container that moves to another host is on one of them in the end, whoever is killed when."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linkspan.engine.moving import settled, start_move, work
from linkspan.errors import Conflict, Forbidden
from linkspan.model.cluster import Arrival, Move
from linkspan.model.container import Config, Container, EndpointSettings, HostConfig, Mount, State
from linkspan.model.network import Network
from linkspan.model.snapshot import Snapshot, put

HOME, AWAY = "home", "away"
CITY = Network(id="n1", name="city", driver="flat", created="", scope="global")
OWN = Network(id="n2", name="own", driver="bridge", created="")


def container(**more: object) -> Container:
    made = Container(id="c" * 64, name="web", created="", image_id="", config=Config(), host_config=HostConfig())
    return msgspec.structs.replace(made, **more)  # type: ignore[arg-type]


def test_what_goes_along() -> None:
    config = Config(hostname="c" * 12, image="web", labels={"a": "b"})
    moving = container(config=config, networks={"n1": EndpointSettings(aliases=("www",))})
    move = start_move(Snapshot().after([put(CITY), put(moving)]), moving, HOME, AWAY)
    assert (move.id, move.host_id, move.target, move.name, move.settled) == ("c" * 64, HOME, AWAY, "web", False)
    assert (move.config.hostname, move.config.labels) == ("", {"a": "b"})
    assert {name: settings.aliases for name, settings in move.networks.items()} == {"city": ("www",)}


@pytest.mark.parametrize(
    ("moving", "kind", "says"),
    [
        (container(state=State(status="running", pid=1)), Conflict, "is running: stop it before it moves"),
        (container(state=State(status="restarting")), Conflict, "is restarting"),
        (container(mounts=(Mount(type="volume", name="v", destination="/d"),)), Forbidden, "its volume v"),
        (container(mounts=(Mount(type="bind", source="/s", destination="/d"),)), Forbidden, "bind mount /s"),
        (container(networks={"n2": None}), Forbidden, "network own is this host's only"),
        (container(networks={"n3": None}), Forbidden, "network n3 is this host's only"),
        (container(host_config=HostConfig(network_mode="container:x")), Forbidden, "shares the network namespace"),
        (container(host_config=HostConfig(links=("x:y",))), Forbidden, "it is linked to other containers"),
    ],
)
def test_what_stays(moving: Container, kind: type[Exception], says: str) -> None:
    with pytest.raises(kind, match=says):
        start_move(Snapshot().after([put(CITY), put(OWN)]), moving, HOME, AWAY)


class Both:
    """The records that two hosts share, and which of them has the container. Each step is one write of one host."""

    def __init__(self) -> None:
        self.moves: dict[str, Move] = {}
        self.arrivals: dict[str, Arrival] = {}
        self.home, self.away = True, False
        self.asked = False

    def seen(self, there: bool) -> Snapshot:
        records = [*self.moves.values(), *self.arrivals.values(), *([container()] if there else [])]
        return Snapshot().after(map(put, records))

    def ask(self) -> None:
        if self.home and not self.moves and not self.arrivals:
            move = start_move(self.seen(True), container(), HOME, AWAY)
            self.moves[move.id] = move
            self.asked = True

    def settle(self) -> None:
        """Whoever asked hears that it is made."""
        for move in list(self.moves.values()):
            arrival = self.arrivals.get(move.id)
            if self.asked and arrival and arrival.made and not move.settled:
                self.moves[move.id] = settled(move)

    def kill_home(self) -> None:
        self.asked = False

    def work_home(self) -> None:
        todo = work(self.seen(self.home), HOME)
        if todo.unsettled and not self.asked:
            self.moves.clear()
        elif todo.remove:
            self.home = False
        elif todo.forget:
            self.moves.clear()

    def work_away(self, *, killed: bool = False) -> None:
        todo = work(self.seen(self.away), AWAY)
        if todo.make:
            (move,) = todo.make
            if move.id not in self.arrivals:
                self.arrivals[move.id] = Arrival(id=move.id, host_id=AWAY, container_id="new")
            elif not self.away and killed:
                self.away = True  # and dies before it can say so
            else:
                self.away = True
                self.arrivals[move.id] = msgspec.structs.replace(self.arrivals[move.id], made=True)
        elif todo.keep:
            self.arrivals = {k: msgspec.structs.replace(a, settled=True) for k, a in self.arrivals.items()}
        elif todo.undo:
            self.away = self.away and todo.undo[0].settled
            self.arrivals.clear()


@settings(max_examples=300, deadline=None)
@given(st.lists(st.integers(0, 5), max_size=30))
def test_it_is_on_one_host_in_the_end(steps: list[int]) -> None:
    both = Both()
    does = (both.ask, both.settle, both.kill_home, both.work_home, both.work_away, lambda: both.work_away(killed=True))
    for step in steps:
        does[step]()
        assert both.home or both.away
    both.settle()
    for _ in range(20):  # nobody is killed any more
        both.settle()
        both.work_home()
        both.work_away()
    assert (both.moves, both.arrivals) == ({}, {})
    assert both.home != both.away
