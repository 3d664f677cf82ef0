"""Policies on three hosts with nine containers of an overlay network, by real connections, against the oracle.

Each set of policies replaces the one before it in place, as on a host that runs: by what differs.
"""

from __future__ import annotations

import itertools
import resource
import socket
import struct
from collections.abc import Iterator

import msgspec
import pytest
from hypothesis import HealthCheck, Phase, given, settings

from linkspan.kernel.netlink import ACK, NETLINK_NETFILTER, NetlinkSocket
from linkspan.model.endpoint import Endpoint
from linkspan.model.policy import Policy
from linkspan.model.snapshot import drop, put
from linkspan.state.host import Underlay
from tests.hosts import hosts, socket_in
from tests.policies.generated import LABELS, NETWORKS, SETS, TIERS, policies
from tests.policies.oracle import Packet, Place, passes
from tests.policies.pings import answered
from tests.truth.place import KIND, Labs, Probe, Servers, attempt, labs

pytestmark = pytest.mark.root

HOSTS = {name: (f"10.211.55.{number}", f"fd00:55::{number}") for number, name in enumerate(("h1", "h2", "h3"), 4)}
PORTS = (80, 91)
_FORGET = 1 << 8 | 2  # IPCTNL_MSG_CT_DELETE: all of them, as it names none
NUMBERS = {"tcp": 6, "udp": 17}


class Field:
    """Nine containers, three on each host, each with a server."""

    def __init__(self, there: Labs) -> None:
        self.labs = there
        city = there.network("city", "10.1.0.0/24", "fd00:1::/64", driver="overlay")
        there.take([put(msgspec.structs.replace(city, labels=NETWORKS["city"])), *map(put, TIERS)])
        self.at: dict[str, tuple[str, Endpoint]] = {}
        self.places: dict[str, Place] = {}
        for number, host in enumerate(tuple(HOSTS) * 3):
            name, labels = f"c{number}", LABELS[number % len(LABELS)]
            endpoint = there.container(host, name, city, labels=labels)
            self.at[name] = host, endpoint
            addresses = (endpoint.address, endpoint.address6)
            self.places[name] = Place(labels, addresses, "city", NETWORKS["city"])
        self.world = [*self.places.values(), *(Place(*set_) for set_ in SETS.values())]
        there.apply()

    def space(self, name: str) -> str:
        host, endpoint = self.at[name]
        return self.labs[host].space(endpoint)

    def forget(self) -> None:
        """Connections that were, so that none of them lets a new one pass."""
        for name in self.at:
            with socket_in(self.space(name), socket.SOCK_RAW, socket.AF_NETLINK, NETLINK_NETFILTER) as made:
                connection = NetlinkSocket(NETLINK_NETFILTER, descriptor=made.detach())
            connection.request([(_FORGET, ACK, struct.pack("=BBH", 0, 0, 0))])
            connection.close()

    def let(self, there: list[Policy]) -> None:
        before = self.labs["h1"].now.policies
        gone = [drop(policy) for id_, policy in before.items() if id_ not in {p.id for p in there}]
        self.labs.take([*gone, *map(put, there)])
        self.labs.follow()


@pytest.fixture(scope="module")
def field(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Field]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with hosts(**{name: f"{own[0]}/24" for name, own in HOSTS.items()}) as made:
        for name, own in HOSTS.items():
            made[name].run("ip", "address", "add", f"{own[1]}/64", "dev", "eth0", "nodad")
        underlays = {name: Underlay("eth0", *own) for name, own in HOSTS.items()}
        with labs(made, tmp_path_factory.mktemp("policies"), underlays) as there, Servers() as running:
            found = Field(there)
            for name in found.at:
                running.listen(found.space(name), name, PORTS)
            yield found
            found.let([])
            assert not [lab.drift() for lab in there.labs.values() if lab.drift()]
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@settings(max_examples=8, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
@given(policies())
def test_what_is_said_is_what_comes_about(field: Field, made: list[Policy]) -> None:
    field.let(made)
    field.forget()
    probes: dict[tuple[str, str, int, str, int], Probe] = {}
    echoes: dict[tuple[str, str, int], tuple[str, str]] = {}
    for one, other in itertools.permutations(field.at, 2):
        for version, address in zip((4, 6), field.places[other].addresses, strict=True):
            echoes[one, other, version] = field.space(one), address
            for protocol, port in itertools.product(KIND, PORTS):
                probe = Probe(field.space(one), address, port, protocol, other)
                probes[one, other, version, protocol, port] = probe

    def meant(one: str, other: str, version: int, protocol: int, port: int = 0) -> bool:
        ends = (field.places[name].addresses[version == 6] for name in (one, other))
        packet = Packet(*ends, protocol, 40000 if port else 0, port, 0 if port else 8 if version == 4 else 128)
        return passes(field.places[one], "Egress", packet, made, TIERS, field.world) and passes(
            field.places[other], "Ingress", packet, made, TIERS, field.world
        )

    right = {key: meant(*key[:3], NUMBERS[key[3]], key[4]) for key in probes}
    right_echoes = {key: meant(*key, 1 if key[2] == 4 else 58) for key in echoes}
    seen = attempt(probes.values(), [probe for key, probe in probes.items() if right[key]])
    heard = answered(echoes.values(), [pair for key, pair in echoes.items() if right_echoes[key]])
    wrong = [(key, right[key]) for key, probe in probes.items() if (probe in seen) != right[key]]
    wrong_echoes = [(key, right_echoes[key]) for key, pair in echoes.items() if (pair in heard) != right_echoes[key]]
    assert not wrong and not wrong_echoes, (wrong[:5], wrong_echoes[:5], made)
