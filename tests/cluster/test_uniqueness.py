"""No address is ever held twice, whatever is started at once and whoever is killed meanwhile."""

from __future__ import annotations

import contextlib
import http.client
import itertools
import json
import random
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from tests.cluster.place import Cluster, Member, kill_daemon, until

AT_ONCE = 4  # starts on each host
KEPT = 3  # containers that each of them has at a time, so that addresses are few and soon used again
SUBNET = ("-o", "parent=eth0", "--subnet", "10.90.0.0/26", "--scope", "global")
GONE = (OSError, http.client.HTTPException)  # what a client sees of a daemon that is killed


@dataclass
class Ledger:
    """Who held which address, from when to when: from the answer to the start, to the request of the removal."""

    spans: dict[str, list[tuple[float, float, str]]] = field(default_factory=lambda: defaultdict(list))
    refused: list[str] = field(default_factory=list)

    def overlapping(self) -> list[str]:
        found = []
        for address, spans in self.spans.items():
            for one, other in itertools.pairwise(sorted(spans)):
                if other[0] < one[1]:
                    found.append(f"{address}: {one[2]} until {one[1]:.3f}, {other[2]} from {other[0]:.3f}")
        return found


class Worker:
    """Starts containers one after the other, and removes them again, on one host, whose daemon may die at any time."""

    def __init__(self, member: Member, number: int, runs: int, ledger: Ledger, network: str) -> None:
        self._member, self._number, self._runs, self._ledger, self._network = member, number, runs, ledger, network
        self._held: list[tuple[str, str, float]] = []
        self.failure = ""
        self.thread = threading.Thread(target=self._work, daemon=True)

    def _work(self) -> None:
        try:
            for number in range(self._runs):
                if len(self._held) == KEPT:
                    self._remove(*self._held.pop(0))
                self._start(f"c-{self._member.name}-{self._number}-{number}")
            for each in self._held:
                self._remove(*each)
        except Exception as error:
            self.failure = f"{self._member.name}: {error!r}"

    def _start(self, name: str) -> None:
        body = {"Image": "plain", "Cmd": ["sleep", "1000"], "HostConfig": {"NetworkMode": self._network}}
        try:
            status, answer = self._member.request("POST", f"/containers/create?name={name}", body)
            assert status == 201, answer
            status, answer = self._member.request("POST", f"/containers/{name}/start")
            if status != 204:
                self._ledger.refused.append(f"{name}: {status} {answer}")
                self._delete(name)
                return
            since = time.monotonic()
            _, found = self._member.request("GET", f"/containers/{name}/json")
            (network,) = found["NetworkSettings"]["Networks"].values()
        except GONE:
            self._delete(name)  # whether it runs is not known
            return
        self._held.append((name, network["IPAddress"], since))

    def _remove(self, name: str, address: str, since: float) -> None:
        # One that a killed daemon has lost held its address until then at the latest: it may end early, never late.
        self._ledger.spans[address].append((since, time.monotonic(), name))
        self._delete(name)

    def _delete(self, name: str) -> None:
        """Also where the daemon has to be waited for."""
        deadline = time.monotonic() + 60
        while True:
            with contextlib.suppress(*GONE):
                status, answer = self._member.request("DELETE", f"/containers/{name}?force=1&v=1")
                if status in (204, 404):
                    return
                assert status == 409, answer  # it is being removed already
            assert time.monotonic() < deadline, f"{name} cannot be removed"
            time.sleep(0.05)


def test_no_address_is_held_twice(hosts: Cluster, cluster_runs: int) -> None:
    """Starts on every host at once, with an address block too small for all, while daemons are killed at random."""
    chance = random.Random(cluster_runs)
    network = hosts.network("macvlan", "crowd", *SUBNET)
    ledger = Ledger()
    workers = [
        Worker(member, number, cluster_runs // AT_ONCE, ledger, network)
        for member in hosts
        for number in range(AT_ONCE)
    ]
    for worker in workers:
        worker.thread.start()
    kills = 0
    while any(worker.thread.is_alive() for worker in workers):
        time.sleep(chance.uniform(0.5, 2.0))
        member = chance.choice(list(hosts))
        kill_daemon(member)
        member.start(*member.flags)
        kills += 1
        _held_once_in_the_kernel(hosts)
    assert not [worker.failure for worker in workers if worker.failure]
    assert kills and not ledger.overlapping()
    assert not [why for why in ledger.refused if "no available" not in why and "cannot be used now" not in why]
    runs = sum(len(spans) for spans in ledger.spans.values())
    assert runs > 0.5 * cluster_runs * len(hosts.hosts), f"only {runs} ran; {ledger.refused[:3]}"
    until(lambda: not _addresses(hosts), "every address is given back")


def _held_once_in_the_kernel(hosts: Cluster) -> None:
    """What interfaces have, looked at host by host: an address that moved meanwhile is looked at again."""
    seen = [dict(_in_sandboxes(member)) for member in hosts]
    again = [dict(_in_sandboxes(member)) for member in hosts]
    steady = [set(one.items()) & set(other.items()) for one, other in zip(seen, again, strict=True)]
    held = [address for found in steady for _, address in found]
    assert len(held) == len(set(held)), steady


def _in_sandboxes(member: Member) -> Iterator[tuple[str, str]]:
    """Namespaces with their container's address."""
    for path in (member.exec_root / "netns").iterdir():
        inside = f"/proc/{member.host.pid}/root{path}"
        done = member.host.run(["nsenter", f"--net={path}", "ip", "-j", "-4", "address", "show", "up"], check=False)
        for link in json.loads(done.stdout or "[]") if done.returncode == 0 else []:
            for entry in link["addr_info"]:
                if entry["local"].startswith("10.90."):
                    yield inside, entry["local"]


def _addresses(hosts: Cluster) -> list[str]:
    """Addresses that somebody has claimed in etcd."""
    keys = hosts.etcd.ctl("get", "--prefix", "--keys-only", "/linkspan/").split()
    return [key for key in keys if "/addresses/" in key]


@pytest.fixture
def cluster_runs(request: pytest.FixtureRequest) -> int:
    return int(request.config.getoption("--cluster-runs"))
