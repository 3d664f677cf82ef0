"""Worker: podman's netavark, called as podman calls it: JSON on its input, a namespace that is there already.

What is timed is the program from its start to its end. Its caller has chosen the address and made the namespace, which
linkspan does within its own time.
"""

from __future__ import annotations

import hashlib
import ipaddress
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.worker import serve

PROGRAM = "/usr/lib/podman/netavark"
NETWORK = "bench"
SUBNET = "10.91.0.0/16"


class Netavark:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._addresses = ipaddress.ip_network(SUBNET).hosts()
        self._gateway = str(next(self._addresses))
        self._requests: dict[str, str] = {}

    def attach(self, ports: Sequence[int]) -> dict[str, Any]:
        address = str(next(self._addresses))
        id_ = hashlib.sha256(address.encode()).hexdigest()
        subprocess.run(["ip", "netns", "add", id_[:12]], check=True)
        request = self._requests[id_] = json.dumps(self._request(id_, address, ports))
        return {"id": id_, "seconds": self._run("setup", id_, request)}

    def detach(self, id: str) -> dict[str, Any]:
        seconds = self._run("teardown", id, self._requests.pop(id))
        subprocess.run(["ip", "netns", "del", id[:12]], check=True)
        return {"seconds": seconds}

    def _run(self, verb: str, id_: str, request: str) -> float:
        command = [PROGRAM, "--config", str(self._folder), "--rootless=false", verb, f"/run/netns/{id_[:12]}"]
        start = time.perf_counter()
        done = subprocess.run(command, input=request, capture_output=True, text=True, check=False)
        seconds = time.perf_counter() - start
        if done.returncode:
            raise RuntimeError(f"{verb}: {done.stdout} {done.stderr}")
        return seconds

    def _request(self, id_: str, address: str, ports: Sequence[int]) -> dict[str, Any]:
        network = {
            "name": NETWORK,
            "id": hashlib.sha256(NETWORK.encode()).hexdigest(),
            "driver": "bridge",
            "network_interface": "podman1",
            "created": "2025-01-01T00:00:00Z",
            "subnets": [{"subnet": SUBNET, "gateway": self._gateway}],
            "ipv6_enabled": False,
            "internal": False,
            "dns_enabled": False,
            "ipam_options": {"driver": "host-local"},
        }
        return {
            "container_id": id_,
            "container_name": id_[:12],
            "networks": {NETWORK: {"static_ips": [address], "interface_name": "eth0"}},
            "network_info": {NETWORK: network},
            "port_mappings": [
                {"host_ip": "", "host_port": port, "container_port": port, "protocol": "tcp", "range": 1}
                for port in ports
            ],
        }


if __name__ == "__main__":
    netavark = Netavark(Path(sys.argv[1]))
    serve({"attach": netavark.attach, "detach": netavark.detach})
