"""Kernel settings under /proc/sys. Those of `net/` are the reading or writing thread's namespace's."""

from __future__ import annotations

import errno
import os

from linkspan.errors import InvalidArgument


def read(name: str) -> str | None:
    """The value, lists separated by single spaces; None where this kernel has no such setting."""
    try:
        descriptor = os.open(_path(name), os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return "1" if _disables_what_is_not_there(name) else None
    try:
        return " ".join(os.read(descriptor, 65536).decode().split())
    except OSError as error:
        if error.errno == errno.EINVAL:  # some are write-only, or have no value in this state
            return None
        raise
    finally:
        os.close(descriptor)


def write(name: str, value: str) -> None:
    """OSError(EINVAL) for a value that the setting does not take."""
    try:
        descriptor = os.open(_path(name), os.O_WRONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        if value == "1" and _disables_what_is_not_there(name):
            return
        raise
    try:
        os.write(descriptor, value.encode())
    finally:
        os.close(descriptor)


def _path(name: str) -> str:
    if ".." in name.split("/") or name.startswith("/"):
        raise InvalidArgument(f"sysctl {name} is not a setting's name")
    return f"/proc/sys/{name}"


def _disables_what_is_not_there(name: str) -> bool:
    """A kernel without IPv6 has no setting to turn it off, and needs none; nor has a link whose MTU is too small."""
    if not name.endswith("/disable_ipv6"):
        return False
    settings = os.path.dirname(_path(name))  # noqa: PTH120
    of_ipv4 = settings.replace("/net/ipv6/", "/net/ipv4/")
    return not os.path.exists("/proc/sys/net/ipv6") or (not os.path.exists(settings) and os.path.exists(of_ipv4))  # noqa: PTH110
