"""Capabilities by name: what a container starts with, and what --cap-add and --cap-drop make of it. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from linkspan.errors import InvalidArgument

# capability(7), by number.
_KNOWN = (
    "CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE NET_BIND_SERVICE "
    "NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT "
    "SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL "
    "SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE"
)
_USUAL = (
    "CHOWN DAC_OVERRIDE FSETID FOWNER MKNOD NET_RAW SETGID SETUID SETFCAP SETPCAP NET_BIND_SERVICE SYS_CHROOT KILL "
    "AUDIT_WRITE"
)
ALL = tuple("CAP_" + name for name in _KNOWN.split())
DEFAULT = tuple("CAP_" + name for name in _USUAL.split())


def effective(
    add: Sequence[str] | None, drop: Sequence[str] | None, *, privileged: bool, available: Sequence[str] = ALL
) -> tuple[str, ...]:
    """The capabilities of a container, in the kernel's order; `available` are those that the daemon itself has.

    Docker's rules: adding ALL wins over dropping ALL; one that is dropped by name and added is there.
    Raises InvalidArgument with Docker's words for a name that is unknown.
    """
    added, dropped = _normal("CapAdd", add, available), _normal("CapDrop", drop, ALL)
    if privileged:
        return tuple(available)
    if "ALL" in added:
        chosen = set(available) - dropped
    elif "ALL" in dropped:
        chosen = added
    else:
        chosen = set(DEFAULT) - dropped | added
    return tuple(name for name in available if name in chosen)


def _normal(field: str, names: Sequence[str] | None, available: Sequence[str]) -> set[str]:
    normal = set()
    for name in names or ():
        upper = name.upper()
        if upper != "ALL":
            upper = "CAP_" + upper.removeprefix("CAP_")
            if upper not in ALL:
                raise InvalidArgument(f'invalid {field}: unknown capability: "{upper}"')
            if upper not in available:
                raise InvalidArgument(
                    f"invalid {field}: capability not supported by your kernel or not available in the current "
                    f'environment: "{upper}"'
                )
        normal.add(upper)
    return normal


def of_mask(bits: int) -> tuple[str, ...]:
    """The names of a set as /proc/<pid>/status shows it; numbers without a name are left out."""
    return tuple(name for number, name in enumerate(ALL) if bits >> number & 1)
