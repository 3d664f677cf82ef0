"""How much of a pool is used."""

from __future__ import annotations

import pytest

from linkspan.ipam.usage import MOST, Usage, usage
from linkspan.model.network import Pool


@pytest.mark.parametrize(
    ("pool", "held", "expected"),
    [
        (Pool(subnet="192.168.0.0/24", gateway="192.168.0.1"), (), Usage(3, 253)),
        (Pool(subnet="192.168.0.0/24", gateway="192.168.0.1"), ("192.168.0.2", "10.0.0.1", "fd00::2"), Usage(4, 252)),
        (Pool(subnet="10.0.0.0/24", gateway="10.0.0.1", auxiliary={"a": "10.0.0.9", "b": ""}), (), Usage(4, 252)),
        (Pool(subnet="10.0.0.0/24", ip_range="10.0.0.128/28", gateway="10.0.0.1"), ("10.0.0.130",), Usage(4, 15)),
        (Pool(subnet="10.0.0.0/31"), (), Usage(0, 2)),
        (Pool(subnet="10.0.0.4/32", gateway="10.0.0.4"), (), Usage(1, 0)),
        (Pool(subnet="fd00::/120", gateway="fd00::1"), ("fd00::2",), Usage(3, 253)),
        (Pool(subnet="fd00::/48", gateway="fd00::1"), (), Usage(2, MOST)),
    ],
)
def test_usage(pool: Pool, held: tuple[str, ...], expected: Usage) -> None:
    assert usage(pool, held) == expected
