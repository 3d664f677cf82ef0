"""Open vSwitch for tests."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from demo.ovs import THERE, OpenVSwitch

needs_ovs = pytest.mark.skipif(not THERE, reason="needs openvswitch-switch (setup/packages test)")


@contextlib.contextmanager
def open_vswitch(namespace: str, folder: Path) -> Iterator[OpenVSwitch]:
    made = OpenVSwitch(namespace, folder)
    try:
        yield made
    finally:
        made.close()
