"""What the host gives to every container's spec, and its device nodes: the I/O that spec.py leaves to its callers."""

from __future__ import annotations

import os
import resource
import shutil
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypedDict

from linkspan.errors import Internal, InvalidArgument
from linkspan.model.container import DeviceMapping, HostConfig
from linkspan.model.processors import parse_numbers
from linkspan.runtime import cgroups, seccomp
from linkspan.runtime.capabilities import of_mask
from linkspan.runtime.resources import Device

# A static binary, as it runs on the container's files: Debian's package tini has one.
_INITS = ("tini-static", "docker-init-static")


class HostFacts(TypedDict):
    """Fields of spec.Surroundings: `Surroundings(**host_facts(), rootfs=…)`."""

    nofile_hard: int
    capabilities: tuple[str, ...]
    cgroup_version: int
    swap_accounting: bool
    init: str
    seccomp: seccomp.Profile | None


def host_facts() -> HostFacts:
    """Read once, at the daemon's start. Raises Unavailable where the default seccomp profile is not installed."""
    hierarchy = cgroups.mounted()
    memory = hierarchy.controllers.get("memory")
    status = Path("/proc/self/status").read_text()
    bounding = next(line for line in status.splitlines() if line.startswith("CapBnd:"))
    return HostFacts(
        nofile_hard=resource.getrlimit(resource.RLIMIT_NOFILE)[1],
        capabilities=of_mask(int(bounding.split()[1], 16)),
        cgroup_version=hierarchy.version,
        swap_accounting=hierarchy.version == 2 or bool(memory and (memory / "memory.memsw.limit_in_bytes").exists()),
        init=next((found for name in _INITS if (found := shutil.which(name))), ""),
        seccomp=seccomp.load(),
    )


def processors_online() -> frozenset[int]:
    """The numbers of the processors that containers can be given."""
    try:
        return parse_numbers(Path("/sys/devices/system/cpu/online").read_text().strip())
    except (OSError, InvalidArgument):
        return frozenset(range(os.cpu_count() or 1))


def devices(mappings: Sequence[DeviceMapping] | None, *, privileged: bool) -> tuple[Device, ...]:
    """Those of `--device`, a folder meaning every device in it; for privileged containers every device of the host.

    Raises Internal with Docker's words.
    """
    if privileged:
        return tuple(_below(Path("/dev"), "/dev", "rwm"))
    found: list[Device] = []
    for mapping in mappings or ():
        source = Path(mapping.path_on_host)
        inside = mapping.path_in_container or mapping.path_on_host
        try:
            real = source.resolve(strict=True)
            added = list(_below(real, inside, mapping.cgroup_permissions)) if real.is_dir() else []
            if not real.is_dir() and (device := _device(real, inside, mapping.cgroup_permissions)):
                added = [device]
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise Internal(
                f'error gathering device information while adding custom device "{source}": {reason}'
            ) from error
        if not added:
            raise Internal(
                f'error gathering device information while adding custom device "{source}": not a device node'
            )
        found += added
    return tuple(found)


def block_limits(config: HostConfig) -> dict[str, list[dict[str, int]]]:
    """`linux.resources.blockIO` of single devices. Raises InvalidArgument with Docker's words."""
    limits = {
        "throttleReadBpsDevice": config.blkio_device_read_bps,
        "throttleWriteBpsDevice": config.blkio_device_write_bps,
        "throttleReadIOPSDevice": config.blkio_device_read_iops,
        "throttleWriteIOPSDevice": config.blkio_device_write_iops,
    }
    found = {
        key: [{**_block_device(each.path), "rate": each.rate} for each in limited]
        for key, limited in limits.items()
        if limited
    }
    if config.blkio_weight_device:
        found["weightDevice"] = [
            {**_block_device(each.path), "weight": each.weight} for each in config.blkio_weight_device
        ]
    return found


def _block_device(path: str) -> dict[str, int]:
    try:
        info = Path(path).stat()
    except (OSError, ValueError) as error:
        reason = (getattr(error, "strerror", "") or str(error)).lower()
        raise InvalidArgument(f"stat {path}: {reason}") from None
    if not stat.S_ISBLK(info.st_mode):
        raise InvalidArgument(f"{path} is not a block device: its reads and writes cannot be limited")
    return {"major": os.major(info.st_rdev), "minor": os.minor(info.st_rdev)}


def _below(top: Path, inside: str, access: str) -> Iterator[Device]:
    for folder, names, files in os.walk(top):
        # Each container has its own of these.
        names[:] = [
            name for name in names if name not in ("pts", "shm", "fd", "mqueue", ".lxc", ".lxd-mounts", ".udev")
        ]
        for name in files:
            path = Path(folder, name)
            if name == "console" or path.is_symlink():
                continue
            try:
                device = _device(path, str(Path(inside) / path.relative_to(top)), access)
            except OSError:
                continue  # gone meanwhile
            if device:
                yield device


def _device(path: Path, inside: str, access: str) -> Device | None:
    info = path.stat()
    if not (stat.S_ISCHR(info.st_mode) or stat.S_ISBLK(info.st_mode)):
        return None
    return Device(
        path=inside,
        kind="c" if stat.S_ISCHR(info.st_mode) else "b",
        major=os.major(info.st_rdev),
        minor=os.minor(info.st_rdev),
        mode=stat.S_IMODE(info.st_mode),
        uid=info.st_uid,
        gid=info.st_gid,
        access=access,
    )
