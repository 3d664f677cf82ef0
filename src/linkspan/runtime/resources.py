"""Limits: what `--memory`, `--cpus`, `--pids-limit`, `--ulimit`, `--device` and their kin are in an OCI spec. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from linkspan.errors import InvalidArgument
from linkspan.model.container import DeviceMapping, HostConfig, Ulimit

_PERIOD = 100_000  # µs
_RULE = re.compile(r"([acb]) ([0-9]+|\*):([0-9]+|\*) ([rwm]{1,3})")
# getrlimit(2)
_LIMITS = "core cpu data fsize locks memlock msgqueue nice nofile nproc rss rtprio rttime sigpending stack"
# What every container may use, as Docker has it: making any node, and null, zero, full, tty, random, terminals.
_ALLOWED = (
    ("c", None, None, "m"),
    ("b", None, None, "m"),
    *(("c", 1, minor, "rwm") for minor in (3, 5, 7, 8, 9)),
    ("c", 5, 0, "rwm"),
    ("c", 5, 2, "rwm"),
    ("c", 136, None, "rwm"),
)


class Device(msgspec.Struct, frozen=True, kw_only=True):
    """A device node of the host, and where it shows inside. `kind` is c or b, `mode` the permission bits."""

    path: str
    kind: str
    major: int
    minor: int
    mode: int = 0o666
    uid: int = 0
    gid: int = 0
    access: str = "rwm"


def cgroup(config: HostConfig, *, swap: bool = True) -> dict[str, Any]:
    """The part of `linux.resources` that can be changed while the container runs; only what was asked for.

    `swap`: the kernel accounts for swap. Where it does not, swap limits are left out, as Docker does (with a warning).
    """
    memory = {
        "limit": config.memory,
        "reservation": config.memory_reservation,
        # Docker's default is as much swap as memory.
        "swap": (config.memory_swap or (2 * config.memory if config.memory > 0 else 0)) if swap else 0,
    }
    wanted: dict[str, Any] = {name: value for name, value in memory.items() if value}
    if config.memory_swappiness is not None and config.memory_swappiness >= 0:
        wanted["swappiness"] = config.memory_swappiness
    if config.oom_kill_disable:
        wanted["disableOOMKiller"] = True
    cpu = {
        "shares": config.cpu_shares,
        "quota": config.nano_cpus * _PERIOD // 10**9 or config.cpu_quota,
        "period": _PERIOD if config.nano_cpus else config.cpu_period,
        "realtimeRuntime": config.cpu_realtime_runtime,
        "realtimePeriod": config.cpu_realtime_period,
        "cpus": config.cpuset_cpus,
        "mems": config.cpuset_mems,
    }
    result: dict[str, Any] = {}
    if wanted:
        result["memory"] = wanted
    if chosen := {name: value for name, value in cpu.items() if value}:
        result["cpu"] = chosen
    if config.pids_limit:
        result["pids"] = {"limit": max(config.pids_limit, -1)}
    if config.blkio_weight:
        result["blockIO"] = {"weight": config.blkio_weight}
    return result


def device_rules(config: HostConfig, devices: Iterable[Device]) -> list[dict[str, Any]]:
    """`linux.resources.devices`. Raises InvalidArgument with Docker's words."""
    if config.privileged:
        return [{"allow": True, "access": "rwm"}]
    rules: list[dict[str, Any]] = [{"allow": False, "access": "rwm"}]
    rules += [_rule(*allowed) for allowed in _ALLOWED]
    rules += [_rule(device.kind, device.major, device.minor, device.access) for device in devices]
    for text in config.device_cgroup_rules or ():
        if not (match := _RULE.fullmatch(text)):
            raise InvalidArgument(f"invalid device cgroup rule format: '{text}'")
        kind, major, minor, access = match.groups()
        rules.append(_rule(kind, _node_number(major), _node_number(minor), access))
    return rules


def _node_number(text: str) -> int | None:
    return None if text == "*" else int(text)


def _rule(kind: str, major: int | None, minor: int | None, access: str) -> dict[str, Any]:
    rule: dict[str, Any] = {"allow": True, "type": kind, "access": access}
    if major is not None:
        rule["major"] = major
    if minor is not None:
        rule["minor"] = minor
    return rule


def device_nodes(devices: Iterable[Device]) -> list[dict[str, Any]]:
    """`linux.devices`."""
    return [
        {
            "path": device.path,
            "type": device.kind,
            "major": device.major,
            "minor": device.minor,
            "fileMode": device.mode,
            "uid": device.uid,
            "gid": device.gid,
        }
        for device in devices
    ]


def check_device(mapping: DeviceMapping) -> None:
    """Raises InvalidArgument with Docker's words."""
    if not mapping.cgroup_permissions or set(mapping.cgroup_permissions) - set("rwm"):
        raise InvalidArgument(f"invalid device mode: {mapping.cgroup_permissions}")


def rlimits(ulimits: Sequence[Ulimit] | None, nofile_hard: int) -> list[dict[str, Any]]:
    """`process.rlimits`. Open files are cut to `nofile_hard`, the daemon's own limit, which the kernel will not raise.

    Raises InvalidArgument.
    """
    result = []
    for limit in ulimits or ():
        if limit.name not in _LIMITS.split():
            raise InvalidArgument(f"invalid ulimit type: {limit.name}")
        if limit.hard != -1 and (limit.soft > limit.hard or limit.soft == -1):
            raise InvalidArgument(
                f"ulimit soft limit must be less than or equal to hard limit: {limit.soft} > {limit.hard}"
            )
        soft, hard = (2**64 - 1 if value == -1 else value for value in (limit.soft, limit.hard))
        if limit.name == "nofile":
            soft, hard = min(soft, nofile_hard), min(hard, nofile_hard)
        result.append({"type": f"RLIMIT_{limit.name.upper()}", "soft": soft, "hard": hard})
    return result
