"""The fake daemon, and the command run against it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_daemon import FakeDaemon


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[FakeDaemon]:
    fake = FakeDaemon(tmp_path / "daemon.sock")
    yield fake
    fake.close()


class Command:
    """Runs `linkspan` as a process of its own, as a user does."""

    def __init__(self, daemon: FakeDaemon, home: Path) -> None:
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "LINKSPAN_HOST": daemon.host,
            "DOCKER_HOST": daemon.host,
            "TZ": "UTC",
        }

    def __call__(
        self, *words: str, input: bytes = b"", program: tuple[str, ...] = ()
    ) -> subprocess.CompletedProcess[bytes]:
        line = [*(program or (sys.executable, "-m", "linkspan.cli.main")), *words]
        return subprocess.run(line, env=self.environment, input=input, capture_output=True, timeout=5, check=False)


@pytest.fixture
def linkspan(daemon: FakeDaemon, tmp_path: Path) -> Command:
    return Command(daemon, tmp_path)
