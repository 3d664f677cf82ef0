"""`policy check`: who is meant by a name or an address, over which networks; and containers on several networks."""

from __future__ import annotations

import pytest

from linkspan.engine.policy.check import check
from linkspan.engine.policy.guards import guard_of
from linkspan.errors import InvalidArgument, NotFound
from linkspan.model.endpoint import Endpoint
from linkspan.model.policy import Entity, Policy, PolicySpec, Rule
from linkspan.model.resource import Metadata
from linkspan.model.snapshot import Snapshot, put
from tests.engine.conftest import HOST
from tests.policies.generated import snapshot
from tests.policies.machine import lets
from tests.policies.oracle import Packet

HERE = ("city0", "city1", "town0")


def policy(name: str, namespace: str, about: str, *ingress: Rule, **spec: object) -> Policy:
    made = PolicySpec(selector=about, types=("Ingress",), ingress=ingress, **spec)  # type: ignore[arg-type]
    return Policy(metadata=Metadata(name=name, namespace=namespace), spec=made)


def named(name: str) -> str:
    return f'projectcalico.org/name == "{name}"'


# city0 may be reached by city1 at port 80. Everything by TCP is logged, and everything else denied.
NOW = snapshot(HERE).after(
    [
        put(
            policy(
                "one",
                "city",
                named("city0"),
                Rule(action="Log", protocol="TCP"),
                Rule(
                    action="Allow",
                    protocol="TCP",
                    source=Entity(selector=named("city1")),
                    destination=Entity(ports=(80,)),
                ),
            )
        )
    ]
)


def joined(now: Snapshot) -> Snapshot:
    """city0 is on the other network, too."""
    further = Endpoint(
        id="further",
        network_id="town",
        sandbox_id="city0",
        container_id="city0",
        interface="eth1",
        host_interface="v-further",
        address="10.2.0.99",
    )
    return now.after([put(further)])


def test_containers_here_and_elsewhere_by_name_and_by_address() -> None:
    (four,) = check(NOW, HOST, "city1", "city0", "tcp", 80)
    assert (four.network, four.source, four.destination, four.allowed) == ("city", "10.1.0.3", "10.1.0.2", True)
    assert four.ingress.rule == "NetworkPolicy city/one, ingress rule 2"
    assert four.ingress.logged == ("NetworkPolicy city/one, ingress rule 1",)
    four, six = check(NOW, HOST, "city2", "city0", "tcp", 80)  # which is elsewhere, and has both IP versions
    assert [(path.source, path.allowed) for path in (four, six)] == [("10.1.0.4", False), ("fd00:1::4", False)]
    assert "the end of tier default" in four.ingress.rule
    assert not check(NOW, HOST, "10.1.0.4", "10.1.0.2", "tcp", 80)[0].allowed
    assert check(NOW, HOST, "10.1.0.3", "10.1.0.2", "tcp", 80)[0].allowed
    assert not check(NOW, HOST, "192.0.2.1", "city0", "tcp", 80)[0].allowed
    assert check(NOW, HOST, "city0", "192.0.2.1", "udp", 53)[0].ingress.rule.startswith(
        "neither a container nor a host"
    )
    assert not check(NOW, HOST, "city1", "city0", "icmp", 0)[0].allowed


@pytest.mark.parametrize(
    ("words", "error", "said"),
    [
        (("nobody", "city0", "tcp", 80), NotFound, "No such container: nobody"),
        (("city1", "city0", "tcp", 0), InvalidArgument, "tcp needs a port"),
        (("city1", "city0", "icmp", 80), InvalidArgument, "icmp has no ports"),
        (("city1", "city0", "gre", 0), InvalidArgument, "protocol 'gre'"),
        (("city1", "city0", "tcp", 70000), InvalidArgument, "70000 is not a port"),
        (("city1", "fd00:1::2", "tcp", 80), NotFound, "no addresses of one IP version"),
    ],
)
def test_what_cannot_be_asked(words: tuple[str, str, str, int], error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        check(NOW, HOST, *words)


def test_over_the_networks_that_both_are_on() -> None:
    now = joined(NOW)
    assert [path.network for path in check(now, HOST, "city1", "city0", "tcp", 80)] == ["city"]
    (path,) = check(now, HOST, "town1", "city0", "tcp", 80)
    assert (path.network, path.destination, path.allowed) == ("town", "10.2.0.99", True)  # nothing is said of it there


def test_each_interface_has_its_own_rules() -> None:
    closed = policy("closed", "town", "all()", order=1.0)
    for now, there in ((joined(NOW), {"eth0"}), (joined(NOW).after([put(closed)]), {"eth0", "eth1"})):
        guard = guard_of(now, now.sandboxes["city0"])
        assert guard is not None
        assert {name for name, _, _ in guard.entries} == there
        ask = {
            "eth0": Packet("10.1.0.3", "10.1.0.2", 6, 4000, 80),
            "eth1": Packet("10.2.0.2", "10.2.0.99", 6, 4000, 80),
        }
        assert lets(guard, "eth0", "Ingress", ask["eth0"])
        assert not lets(guard, "eth0", "Ingress", ask["eth1"])
        assert lets(guard, "eth1", "Ingress", ask["eth1"]) == ("eth1" not in there)
