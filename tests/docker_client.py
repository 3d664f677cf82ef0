"""The real docker command that the tests drive: the machine's, or Debian's, which setup/docker-client unpacks."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

_UNPACKED = Path(__file__).parents[1] / ".cache" / "docker-client" / "usr" / "bin" / "docker"
DOCKER = os.environ.get("LINKSPAN_TEST_DOCKER") or shutil.which("docker") or str(_UNPACKED)
THERE = Path(DOCKER).exists()
MISSING = "no docker client, and none unpacked: see setup/docker-client"


def _major_version() -> int:
    said = subprocess.run([DOCKER, "--version"], capture_output=True, text=True).stdout if THERE else ""
    number = said.removeprefix("Docker version ").partition(".")[0]
    return int(number) if number.isdigit() else 0


VERSION = _major_version()
# Debian's 20.10 words some things its own way, and asks for an API of its time.
OLD_CLIENT = VERSION < 23
