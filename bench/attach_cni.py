"""Worker: the CNI plugins that a container engine without an engine of its own chains: bridge with host-local, portmap.

What is timed is one ADD of each program, from its start to its end. Their caller has made the namespace, which linkspan
does within its own time.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.worker import serve

PLUGINS = Path("/usr/lib/cni")
VERSION = "1.0.0"
SUBNET = "10.92.0.0/16"


class Cni:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._numbers = itertools.count()
        self._ports: dict[str, Sequence[int]] = {}
        self._results: dict[str, Any] = {}

    def attach(self, ports: Sequence[int]) -> dict[str, Any]:
        id_ = hashlib.sha256(str(next(self._numbers)).encode()).hexdigest()
        subprocess.run(["ip", "netns", "add", id_[:12]], check=True)
        self._ports[id_] = ports
        bridge, result = self._run("ADD", id_, self._bridge())
        self._results[id_] = json.loads(result)
        portmap, _ = self._run("ADD", id_, self._portmap(id_))
        return {"id": id_, "seconds": bridge + portmap, "phases": {"bridge, host-local": bridge, "portmap": portmap}}

    def detach(self, id: str) -> dict[str, Any]:
        portmap, _ = self._run("DEL", id, self._portmap(id))
        bridge, _ = self._run("DEL", id, self._bridge())
        subprocess.run(["ip", "netns", "del", id[:12]], check=True)
        return {"seconds": bridge + portmap}

    def _bridge(self) -> dict[str, Any]:
        return {
            "cniVersion": VERSION,
            "name": "bench",
            "type": "bridge",
            "bridge": "cni0",
            "isGateway": True,
            "ipMasq": True,
            "hairpinMode": True,
            "ipam": {
                "type": "host-local",
                "ranges": [[{"subnet": SUBNET}]],
                "routes": [{"dst": "0.0.0.0/0"}],
                "dataDir": str(self._folder),
            },
        }

    def _portmap(self, id_: str) -> dict[str, Any]:
        mappings = [{"hostPort": port, "containerPort": port, "protocol": "tcp"} for port in self._ports[id_]]
        return {
            "cniVersion": VERSION,
            "name": "bench",
            "type": "portmap",
            "snat": True,
            "capabilities": {"portMappings": True},
            "runtimeConfig": {"portMappings": mappings},
            "prevResult": self._results[id_],
        }

    def _run(self, command: str, id_: str, configuration: dict[str, Any]) -> tuple[float, str]:
        environment = {
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            "CNI_COMMAND": command,
            "CNI_CONTAINERID": id_,
            "CNI_NETNS": f"/run/netns/{id_[:12]}",
            "CNI_IFNAME": "eth0",
            "CNI_PATH": str(PLUGINS),
        }
        program, text = str(PLUGINS / configuration["type"]), json.dumps(configuration)
        start = time.perf_counter()
        done = subprocess.run([program], input=text, capture_output=True, text=True, env=environment, check=False)
        seconds = time.perf_counter() - start
        if done.returncode:
            raise RuntimeError(f"{configuration['type']} {command}: {done.stdout} {done.stderr}")
        return seconds, done.stdout


if __name__ == "__main__":
    cni = Cni(Path(sys.argv[1]))
    serve({"attach": cni.attach, "detach": cni.detach})
