"""What the engine says of itself."""

from __future__ import annotations

import asyncio
import os
import platform
import re
import subprocess
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from linkspan import __version__
from linkspan.daemon.configuration import Configuration
from linkspan.daemon.events import Events
from linkspan.daemon.identity import engine_id, now
from linkspan.daemon.ledger import Ledger
from linkspan.daemon.neighbourhood import Neighbourhood
from linkspan.drivers.available import DRIVERS
from linkspan.model.event import Event


class System:
    def __init__(
        self,
        ledger: Ledger,
        events: Events,
        configuration: Callable[[], Configuration],
        neighbourhood: Neighbourhood,
        images: Callable[[], int],
    ) -> None:
        self._ledger, self._events, self._configuration, self._images = ledger, events, configuration, images
        self._neighbourhood = neighbourhood
        self._versions: dict[str, str] = {}

    async def info(self) -> dict[str, Any]:
        """Docker's /info."""
        states = [c.state.status for c in self._ledger.now.containers.values()]
        os_release, proxies = _os_release(), dict(self._configuration().proxies)
        return {
            "ID": engine_id(self._configuration().data_root),
            "Containers": len(states),
            "ContainersRunning": states.count("running"),
            "ContainersPaused": states.count("paused"),
            "ContainersStopped": len(states) - states.count("running") - states.count("paused"),
            "Images": self._images(),
            "Driver": "overlay",
            "DriverStatus": [["Layers", "unpacked once by digest, mounted with overlayfs"]],
            "Plugins": {
                "Volume": ["local"],
                "Network": sorted(DRIVERS),
                "Authorization": None,
                "Log": ["json-file", "local", "none"],
            },
            "MemoryLimit": True,
            "SwapLimit": True,
            "CpuCfsPeriod": True,
            "CpuCfsQuota": True,
            "CPUShares": True,
            "CPUSet": True,
            "PidsLimit": True,
            "IPv4Forwarding": _sysctl("net/ipv4/ip_forward") == "1",
            "BridgeNfIptables": _sysctl("net/bridge/bridge-nf-call-iptables") == "1",
            "BridgeNfIp6tables": _sysctl("net/bridge/bridge-nf-call-ip6tables") == "1",
            "Debug": self._configuration().log_level == "debug",
            "NFd": len(list(Path("/proc/self/fd").iterdir())),
            "OomKillDisable": True,
            "NGoroutines": 0,
            "SystemTime": now(),
            "LoggingDriver": self._configuration().container_log.type,
            "CgroupDriver": "cgroupfs",
            "CgroupVersion": "2" if Path("/sys/fs/cgroup/cgroup.controllers").exists() else "1",
            "NEventsListener": 0,
            "KernelVersion": platform.release(),
            "OperatingSystem": os_release.get("PRETTY_NAME", "Linux"),
            "OSVersion": os_release.get("VERSION_ID", ""),
            "OSType": "linux",
            "Architecture": platform.machine(),
            "IndexServerAddress": "https://index.docker.io/v1/",
            "RegistryConfig": _registry_config(self._configuration().insecure_registries),
            "NCPU": os.cpu_count() or 1,
            "MemTotal": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
            "GenericResources": None,
            "DockerRootDir": str(self._configuration().data_root),
            "HttpProxy": _without_password(proxies.get("http_proxy", "")),
            "HttpsProxy": _without_password(proxies.get("https_proxy", "")),
            "NoProxy": proxies.get("no_proxy", ""),
            "Name": platform.node(),
            "Labels": list(self._configuration().labels),
            "ExperimentalBuild": False,
            "ServerVersion": __version__,
            "Runtimes": {"runc": {"path": "runc"}},
            "DefaultRuntime": "runc",
            "Swarm": {
                "NodeID": "",
                "NodeAddr": "",
                "LocalNodeState": "inactive",
                "ControlAvailable": False,
                "Error": "",
                "RemoteManagers": None,
            },
            **self._cluster(),
            "LiveRestoreEnabled": True,
            "Isolation": "",
            "InitBinary": "docker-init",
            "ContainerdCommit": {"ID": ""},
            "RuncCommit": {"ID": await asyncio.to_thread(self._version_of, "runc")},
            "InitCommit": {"ID": ""},
            "SecurityOptions": ["name=seccomp,profile=builtin"],
            "DefaultAddressPools": [
                {"Base": str(source.base), "Size": source.size} for source in self._configuration().pool_sources
            ],
            "FirewallBackend": {"Driver": "nftables", "Info": self._firewall()},
            "Warnings": self._neighbourhood.warnings(),
        }

    def _cluster(self) -> dict[str, str]:
        """In the fields that Docker had for it, when it had a store of its hosts'."""
        configuration = self._configuration()
        if configuration.cluster is None:
            return {"ClusterStore": "mesh", "ClusterAdvertise": configuration.advertise} if configuration.mesh else {}
        return {"ClusterStore": str(configuration.cluster), "ClusterAdvertise": configuration.advertise}

    def _firewall(self) -> list[list[str]]:
        policy = "closed" if self._configuration().publish_closed else "open"
        return [["Table", "inet linkspan"], ["PublishPolicy", policy], *self._neighbourhood.rows()]

    async def version(self) -> dict[str, Any]:
        """Docker's /version, without ApiVersion and MinAPIVersion, which are the front door's."""
        components = [(name, await asyncio.to_thread(self._version_of, name)) for name in ("runc", "conmon", "skopeo")]
        machine = {
            "Os": "linux",
            "Arch": {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine()),
            "KernelVersion": platform.release(),
            # Clients look for these: there is no Go here, and no commit to name.
            "GoVersion": f"none (Python {platform.python_version()})",
            "GitCommit": "",
            "BuildTime": "",
        }
        return {
            "Platform": {"Name": "linkspan"},
            "Version": __version__,
            **machine,
            "Components": [
                # docker's command shows the engine from these details, and not from what stands beside them.
                {"Name": "Engine", "Version": __version__, "Details": {**machine, "Experimental": "false"}},
                *({"Name": name, "Version": version, "Details": {}} for name, version in components),
            ],
        }

    def events(self, *, since: float, until: float, wanted: Callable[[Event], bool]) -> AsyncIterator[Event]:
        """Past events kept since `since` (0: none of them), then new ones until `until` (0: for ever)."""
        return self._events.listen(since, until, wanted)

    def _version_of(self, program: str) -> str:
        if program not in self._versions:
            try:
                text = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=5).stdout
            except (OSError, subprocess.SubprocessError):
                text = ""
            words = text.split("\n")[0].split()
            self._versions[program] = words[2] if len(words) > 2 else ""
        return self._versions[program]


def _without_password(proxy: str) -> str:
    return re.sub("//[^@/]*@", "//xxxxx:xxxxx@", proxy)


def _registry_config(insecure: tuple[str, ...]) -> dict[str, Any]:
    def index(name: str, *, secure: bool) -> dict[str, Any]:
        return {"Name": name, "Mirrors": [], "Secure": secure, "Official": name == "docker.io"}

    hosts = {"docker.io": index("docker.io", secure=True)}
    hosts.update({name: index(name, secure=False) for name in insecure if "/" not in name})
    cidrs = [name for name in insecure if "/" in name]
    return {"InsecureRegistryCIDRs": [*cidrs, "127.0.0.0/8"], "IndexConfigs": hosts, "Mirrors": []}


def _os_release() -> dict[str, str]:
    try:
        return platform.freedesktop_os_release()
    except OSError:
        return {}


def _sysctl(name: str) -> str:
    try:
        return Path("/proc/sys", name).read_text().strip()
    except OSError:
        return ""
