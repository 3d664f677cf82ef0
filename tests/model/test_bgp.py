"""What a user may say of BGP: every mistake names the field."""

from __future__ import annotations

import msgspec
import pytest

from linkspan.errors import InvalidArgument
from linkspan.model.bgp import (
    BgpConfigurationSpec,
    BgpFilterSpec,
    BgpPeerSpec,
    check_configuration,
    check_filter,
    check_peer,
    check_secret,
    seconds,
    split_peer,
)


@pytest.mark.parametrize(
    ("name", "spec", "said"),
    [
        ("other", {}, "metadata.name: other"),
        ("node.", {}, "metadata.name: node."),
        ("node.h1", {"nodeToNodeMeshEnabled": True}, "spec.nodeToNodeMeshEnabled: it is for all hosts alike"),
        ("node.h1", {"nodeMeshMaxRestartTime": "1m"}, "spec.nodeMeshMaxRestartTime: it is for all hosts"),
        ("default", {"asNumber": 0}, "spec.asNumber: 0 is not from 1"),
        ("default", {"listenPort": 70000}, "spec.listenPort: 70000"),
        ("default", {"communities": [{"name": "", "value": "1:1"}]}, "spec.communities[0].name"),
        ("default", {"communities": [{"name": "a", "value": "1:70000"}]}, "spec.communities[0].value: '1:70000'"),
        ("default", {"communities": [{"name": "a", "value": "x"}]}, "a community is AS:N"),
        ("default", {"prefixAdvertisements": [{"cidr": "10.0.0.1/8"}]}, "spec.prefixAdvertisements[0].cidr"),
        (
            "default",
            {"prefixAdvertisements": [{"cidr": "10.0.0.0/8", "communities": ["a"]}]},
            "spec.prefixAdvertisements[0].communities[0]: a: no community of that name",
        ),
        ("default", {"nodeMeshPassword": {}}, "spec.nodeMeshPassword: say either value or secretKeyRef"),
        ("default", {"nodeMeshMaxRestartTime": "soon"}, "spec.nodeMeshMaxRestartTime: 'soon' is no duration"),
    ],
)
def test_mistakes_of_a_configuration(name: str, spec: dict[str, object], said: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        check_configuration(name, msgspec.convert(spec, BgpConfigurationSpec))
    assert said in str(refused.value)


PEER = {"peerIP": "192.0.2.1", "asNumber": 65001}


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({}, "spec.peerIP: say either peerIP"),
        ({**PEER, "peerSelector": "all()"}, "spec.peerIP: say either"),
        ({"peerSelector": "all()", "asNumber": 1}, "spec.asNumber: hosts that peerSelector takes"),
        ({"peerIP": "192.0.2.1"}, "spec.asNumber: it goes with peerIP"),
        ({**PEER, "node": "h1", "nodeSelector": "all()"}, "spec.nodeSelector: say either"),
        ({**PEER, "peerIP": "rack"}, "spec.peerIP: 'rack' is no address"),
        ({**PEER, "peerIP": "192.0.2.1:"}, "a port is a number"),
        ({**PEER, "peerIP": "[2001:db8::1]x"}, "a port is a number"),
        ({**PEER, "peerIP": "127.0.0.1"}, "is no address of a router"),
        ({**PEER, "ttlSecurity": 255}, "spec.ttlSecurity: 255"),
        ({**PEER, "numAllowedLocalASNumbers": -1}, "spec.numAllowedLocalASNumbers: -1"),
        ({**PEER, "password": {"value": "a b"}}, "spec.password.value: a password is of printable ASCII"),
        ({**PEER, "password": {"value": "x" * 81}}, "80 bytes at most"),
        ({**PEER, "password": {"secretKeyRef": {"name": "..", "key": "a"}}}, "spec.password.secretKeyRef.name"),
        ({**PEER, "maxRestartTime": "2h"}, "spec.maxRestartTime: 7200 is not from 1 to 4095"),
    ],
)
def test_mistakes_of_a_peer(spec: dict[str, object], said: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        check_peer(msgspec.convert(spec, BgpPeerSpec))
    assert said in str(refused.value)


def test_what_is_no_mistake() -> None:
    check_peer(msgspec.convert({**PEER, "password": {"secretKeyRef": {"name": "a", "key": "b.c"}}}, BgpPeerSpec))
    check_peer(msgspec.convert({"peerSelector": "has(reflector)", "maxRestartTime": "1m30s"}, BgpPeerSpec))
    check_configuration("node.h1", msgspec.convert({"asNumber": 65001, "listenPort": 1790}, BgpConfigurationSpec))
    rule = {"action": "Reject", "cidr": "10.0.0.0/8", "matchOperator": "In", "prefixLength": {"min": 9, "max": 9}}
    check_filter(msgspec.convert({"importV4": [rule, {"action": "Accept"}]}, BgpFilterSpec))
    assert seconds("", "1m30s", 0) == 90 and seconds("", "", 7) == 7
    assert split_peer("", "[2001:db8::1]:1790") == ("2001:db8::1", 1790)
    assert split_peer("", "2001:db8:0::1") == ("2001:db8::1", 0) and split_peer("", "192.0.2.1:1") == ("192.0.2.1", 1)


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ({"cidr": "10.0.0.0/8"}, "spec.importV4[0].matchOperator: it goes with cidr"),
        ({"matchOperator": "In"}, "matchOperator: it goes with cidr"),
        ({"cidr": "fd00::/8", "matchOperator": "In"}, "spec.importV4[0].cidr: fd00::/8 is not IPv4"),
        ({"cidr": "10.0.0.0/8", "matchOperator": "Equal", "prefixLength": {"min": 9}}, "prefixLength: it goes with"),
        ({"cidr": "10.0.0.0/8", "matchOperator": "In", "prefixLength": {"max": 7}}, "8 to 7 are no lengths"),
        ({"cidr": "ten", "matchOperator": "In"}, "'ten' is no subnet"),
    ],
)
def test_mistakes_of_a_filter(rule: dict[str, object], said: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        check_filter(msgspec.convert({"importV4": [{"action": "Accept", **rule}]}, BgpFilterSpec))
    assert said in str(refused.value)


def test_a_password_is_not_part_of_what_is_said() -> None:
    with pytest.raises(InvalidArgument) as refused:
        check_secret("spec.password", 'my"secret')
    assert "my" not in str(refused.value)
