"""What no container may ask for, at its creation or later: limits, and options that mean nothing on this engine.

An option that would be stored and then do nothing is refused: who asked for it would rely on it.
"""

from __future__ import annotations

from linkspan.errors import InvalidArgument
from linkspan.model.container import HostConfig
from linkspan.model.processors import parse_numbers, write_numbers

_RESTART_POLICIES = ("", "no", "always", "unless-stopped", "on-failure")
_MINIMUM_MEMORY = 6 * 1024 * 1024
_IPC_MODES = ("", "none", "private", "shareable", "host")


def check_limits(host: HostConfig, processors: frozenset[int]) -> None:
    """`processors` are the numbers of those online. Raises InvalidArgument with Docker's words."""
    _check_restart(host)
    _check_memory(host)
    _check_processors(host, processors)


def check_modes(host: HostConfig) -> None:
    """Namespaces, storage and devices. Raises InvalidArgument with Docker's words."""
    if host.ipc_mode not in _IPC_MODES and not host.ipc_mode.startswith("container:"):
        raise InvalidArgument(f"invalid IPC mode: {host.ipc_mode}")
    if host.pid_mode not in ("", "host") and not host.pid_mode.startswith("container:"):
        raise InvalidArgument(f"invalid PID mode: {host.pid_mode}")
    if host.uts_mode not in ("", "host"):
        raise InvalidArgument(f"invalid UTS mode: {host.uts_mode}")
    if host.userns_mode not in ("", "host"):
        raise InvalidArgument(f"invalid user namespace mode: {host.userns_mode}")
    if host.cgroupns_mode not in ("", "host", "private"):
        raise InvalidArgument(f"invalid cgroup namespace mode: {host.cgroupns_mode}")
    if host.isolation not in ("", "default"):
        raise InvalidArgument(f"invalid isolation '{host.isolation}' on linux")
    if host.storage_opt:
        raise InvalidArgument(
            f"--storage-opt is not supported: layers are mounted with overlayfs, without quotas "
            f"({', '.join(sorted(host.storage_opt))})"
        )
    for request in host.device_requests or ():
        wanted = "] [".join(" ".join(alternatives) for alternatives in request.capabilities or ())
        raise InvalidArgument(f'could not select device driver "{request.driver}" with capabilities: [[{wanted}]]')


def _check_restart(host: HostConfig) -> None:
    policy = host.restart_policy
    if policy.name not in _RESTART_POLICIES:
        raise InvalidArgument(
            f"invalid restart policy: unknown policy '{policy.name}'; use one of 'no', 'always', 'on-failure', or "
            "'unless-stopped'"
        )
    if policy.maximum_retry_count and policy.name != "on-failure":
        raise InvalidArgument("invalid restart policy: maximum retry count can only be used with 'on-failure'")
    if policy.maximum_retry_count < 0:
        raise InvalidArgument("invalid restart policy: maximum retry count cannot be negative")
    if host.auto_remove and policy.name not in ("", "no"):
        raise InvalidArgument("can't create 'AutoRemove' container with restart policy")


def _check_memory(host: HostConfig) -> None:
    if 0 < host.memory < _MINIMUM_MEMORY:
        raise InvalidArgument("Minimum memory limit allowed is 6MB")
    if 0 < host.memory_reservation < _MINIMUM_MEMORY:
        raise InvalidArgument("Minimum memory reservation allowed is 6MB")
    if 0 < host.memory < host.memory_reservation:
        raise InvalidArgument("Minimum memory limit can not be less than memory reservation limit, see usage")
    if host.memory == 0 and host.memory_swap > 0:
        raise InvalidArgument("You should always set the Memory limit when using Memoryswap limit, see usage")
    if host.memory > 0 and 0 < host.memory_swap < host.memory:
        raise InvalidArgument("Minimum memoryswap limit should be larger than memory limit, see usage")


def _check_processors(host: HostConfig, processors: frozenset[int]) -> None:
    count = len(processors)
    if host.nano_cpus < 0 or host.nano_cpus > count * 1_000_000_000:
        raise InvalidArgument(f"range of CPUs is from 0.01 to {count}.00, as there are only {count} CPUs available")
    if host.nano_cpus and (host.cpu_period or host.cpu_quota):
        raise InvalidArgument("Conflicting options: Nano CPUs and CPU Period cannot both be set")
    if host.cpu_period and not 1_000 <= host.cpu_period <= 1_000_000:
        raise InvalidArgument("CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)")
    if 0 < host.cpu_quota < 1_000:
        raise InvalidArgument("CPU cfs quota can not be less than 1ms (i.e. 1000)")
    if host.cpuset_cpus and not parse_numbers(host.cpuset_cpus) <= processors:
        raise InvalidArgument(
            f"Requested CPUs are not available - requested {host.cpuset_cpus}, available: {write_numbers(processors)}"
        )
    if host.cpuset_mems:
        parse_numbers(host.cpuset_mems, "mems")
