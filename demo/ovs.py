"""Open vSwitch in test hosts: a database and a switch of each host's own, in user space, ended one by one."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from demo.hosts import DYING_WITH_US

SCHEMA = Path("/usr/share/openvswitch/vswitch.ovsschema")
THERE = shutil.which("ovs-vswitchd") is not None and SCHEMA.exists()


class OpenVSwitch:
    """In the network namespace at a path. `folder` is not there yet, and gone afterwards."""

    def __init__(self, namespace: str, folder: Path) -> None:
        self._namespace, self.folder = namespace, folder
        self.database, self.log = folder / "db.sock", folder / "ovs.log"
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        folder.mkdir(parents=True)
        self._run("ovsdb-tool", "create", str(folder / "conf.db"), str(SCHEMA))
        self.start_server()
        self.vsctl("--no-wait", "init")
        self.start_switch()

    def start_server(self) -> None:
        self._start("ovsdb-server", str(self.folder / "conf.db"), f"--remote=punix:{self.database}")
        _wait(lambda: _answers(self.database))

    def start_switch(self) -> None:
        self._start("ovs-vswitchd", f"unix:{self.database}")
        _wait(lambda: any(map(_answers, self.folder.glob("ovs-vswitchd.*.ctl"))))

    def end_switch(self, number: int = signal.SIGTERM) -> None:
        self._end("ovs-vswitchd", number)

    def end_server(self, number: int = signal.SIGTERM) -> None:
        self._end("ovsdb-server", number)
        self.database.unlink(missing_ok=True)

    def close(self) -> None:
        self.end_switch()
        self.end_server()
        shutil.rmtree(self.folder)

    def vsctl(self, *words: str) -> str:
        return self._run("ovs-vsctl", f"--db=unix:{self.database}", *words)

    def table(self, name: str) -> list[dict[str, Any]]:
        """The rows of a table as ovs-vsctl has them in JSON."""
        found = json.loads(self.vsctl("--format=json", "list", name))
        return [dict(zip(found["headings"], row, strict=True)) for row in found["data"]]

    def appctl(self, *words: str) -> str:
        (control,) = self.folder.glob("ovs-vswitchd.*.ctl")
        return self._run("ovs-appctl", "-t", str(control), *words)

    def ofctl(self, verb: str, bridge: str, *words: str) -> str:
        return self._run("ovs-ofctl", verb, f"unix:{self.folder}/{bridge}.mgmt", *words)

    def _start(self, program: str, *words: str) -> None:
        variables = {name: str(self.folder) for name in ("OVS_RUNDIR", "OVS_LOGDIR", "OVS_DBDIR")}
        command = [program, *words, "--no-chdir", f"--pidfile={self.folder}/{program}.pid", "-vsyslog:off"]
        with self.log.open("ab") as out:
            self._running[program] = subprocess.Popen(
                ["nsenter", f"--net={self._namespace}", "--", *DYING_WITH_US, *command],
                stdout=out,
                stderr=out,
                env={**os.environ, **variables},
            )

    def _end(self, program: str, number: int) -> None:
        if process := self._running.pop(program, None):
            process.send_signal(number)  # nsenter has become the program
            process.wait(20)
        for path in self.folder.glob(f"{program}.*"):
            path.unlink()

    def _run(self, *command: str) -> str:
        environment = {**os.environ, "OVS_RUNDIR": str(self.folder)}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30, check=False)
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)}: {done.stderr}")
        return done.stdout


def _answers(path: Path) -> bool:
    """Whether somebody listens there: the file is there a moment before that."""
    with socket.socket(socket.AF_UNIX) as asking:
        return asking.connect_ex(str(path)) == 0


def _wait(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        if time.monotonic() > deadline:
            raise RuntimeError("Open vSwitch does not come up")
        time.sleep(0.01)
