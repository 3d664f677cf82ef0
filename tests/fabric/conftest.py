"""All of it needs root, WireGuard in user space, and babeld."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

NEEDED = {"wireguard-go": "wireguard-go", "wg": "wireguard-tools", "babeld": "babeld", "busybox": "busybox-static"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    missing = [package for program, package in NEEDED.items() if shutil.which(program) is None]
    skipped = pytest.mark.skip(reason=f"not installed: {', '.join(missing)}, which `make test` installs")
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.root)
            if missing:
                item.add_marker(skipped)
