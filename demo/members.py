"""Members of an etcd cluster, one in each of some test hosts: started, killed with their host, and put back."""

import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from demo.hosts import Host

CLIENTS, PEERS = 2379, 2380  # ports
# Elections within a second: hosts on one machine are near each other, but have two cores among them.
_CLIENT = {"PATH": "/usr/bin:/bin", "ETCDCTL_API": "3", "ETCDCTL_ENDPOINTS": f"http://127.0.0.1:{CLIENTS}"}
_TIMES = ("--heartbeat-interval", "100", "--election-timeout", "1000")
_HEALTH = f"import urllib.request as u; u.urlopen('http://127.0.0.1:{CLIENTS}/health', timeout=5)"


class Members:
    """etcd in each of `hosts` (name: host and address), with its data below `folder`, which outlives the hosts."""

    def __init__(self, folder: Path, hosts: Mapping[str, tuple[Host, str]]) -> None:
        self.folder = folder
        self.hosts = dict(hosts)
        self.url = "etcd://" + ",".join(f"{address}:{CLIENTS}" for _, address in self.hosts.values())
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self) -> None:
        """All of them; returns once each says that it is well. Raises RuntimeError with a member's last words."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for name in self.hosts:
            self.start_one(name)
        for name in self.hosts:
            self.wait(name)

    def start_one(self, name: str) -> None:
        host, address = self.hosts[name]
        together = ",".join(f"{other}=http://{at}:{PEERS}" for other, (_, at) in self.hosts.items())
        command = [
            *("etcd", "--name", name, "--data-dir", str(self.folder / name), *_TIMES),
            *("--listen-peer-urls", f"http://{address}:{PEERS}"),
            *("--initial-advertise-peer-urls", f"http://{address}:{PEERS}"),
            *("--listen-client-urls", f"http://{address}:{CLIENTS},http://127.0.0.1:{CLIENTS}"),
            *("--advertise-client-urls", f"http://{address}:{CLIENTS}"),
            *("--initial-cluster", together, "--initial-cluster-state", "new"),
            *("--logger", "zap", "--log-level", "warn"),
        ]
        self._running[name] = host.start(command, log=self.folder / f"{name}.log")

    def wait(self, name: str, within: float = 30) -> None:
        """Until the member is well, which it is among a majority."""
        host, _ = self.hosts[name]
        deadline = time.monotonic() + within
        while host.run([sys.executable, "-c", _HEALTH], check=False).returncode:
            if self._running[name].poll() is not None or time.monotonic() > deadline:
                log = (self.folder / f"{name}.log").read_text(errors="replace")
                raise RuntimeError(f"etcd on {name} ended or is not well:\n{log[-1500:]}")
            time.sleep(0.1)

    def keys(self, prefix: str, at: str = "") -> list[str]:
        """Every key that begins with `prefix`, as the member on one host has it."""
        host, _ = self.hosts[at or next(iter(self.hosts))]
        return host.run(["etcdctl", "get", "--prefix", "--keys-only", prefix], env=_CLIENT).stdout.split()

    def died(self, name: str) -> None:
        """Its host has ended, and it with it."""
        self._running.pop(name).wait(20)

    def replace(self, name: str, host: Host) -> None:
        """Starts the member of a host that died in the one that has taken its place."""
        self.hosts[name] = (host, self.hosts[name][1])
        self.start_one(name)

    def close(self) -> None:
        """Once the hosts have been ended: waits until the members have gone with them."""
        for process in self._running.values():
            process.wait(20)
