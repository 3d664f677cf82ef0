"""Names of fields in any case."""

from __future__ import annotations

from typing import Any

import pytest

from linkspan.api.names import folded
from linkspan.api.parse import convert
from linkspan.model.container import Config, EndpointSettings, ExecConfig, HostConfig


@pytest.mark.parametrize(
    ("value", "type_", "expected"),
    [
        ({"detachkeys": "a", "CMD": ["x"]}, ExecConfig, {"DetachKeys": "a", "Cmd": ["x"]}),
        ({"Cmd": ["right"], "cmd": ["wrong"]}, ExecConfig, {"Cmd": ["right"]}),
        ({"cmd": ["wrong"], "Cmd": ["right"]}, ExecConfig, {"Cmd": ["right"]}),
        ({"labels": {"Cmd": "1", "CMD": "2"}}, Config, {"Labels": {"Cmd": "1", "CMD": "2"}}),
        (
            {"portbindings": {"80/tcp": [{"hostport": "1", "hostIP": "::1"}]}, "ulimits": [{"NAME": "nofile"}]},
            HostConfig,
            {"PortBindings": {"80/tcp": [{"HostPort": "1", "HostIp": "::1"}]}, "Ulimits": [{"Name": "nofile"}]},
        ),
        ({"net": {"ipamconfig": {"ipv4address": "1"}}}, dict[str, EndpointSettings], None),
        ({"unknown": 1}, Config, {"unknown": 1}),
        ([1], Config, [1]),
        ({"Cmd": "no list"}, Config, {"Cmd": "no list"}),
    ],
)
def test_folded(value: Any, type_: Any, expected: Any) -> None:
    expected = expected or {"net": {"IPAMConfig": {"IPv4Address": "1"}}}
    assert folded(value, type_) == expected


def test_what_is_parsed() -> None:
    assert convert({"healthcheck": {"test": ["NONE"], "startPeriod": 5}}, Config).healthcheck is not None
    assert convert({"attachSTDIN": True}, ExecConfig).attach_stdin
