"""Docker's seccomp profiles, turned into the form that an OCI runtime takes.

A profile lists system calls with the conditions under which an entry counts: the container's capabilities, the
machine's architecture, the kernel's version. The OCI form has no conditions. The default profile is the one that
Debian's package golang-github-containers-common installs; it comes in Docker's format.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import os
from collections.abc import Collection
from pathlib import Path
from typing import Any

import msgspec

from linkspan.errors import InvalidArgument, Unavailable

DEFAULT = Path("/usr/share/containers/seccomp.json")
# The machine's name (uname) → that in a profile's conditions, and in its archMap.
_ARCHES = {
    "x86_64": ("amd64", "SCMP_ARCH_X86_64"),
    "aarch64": ("arm64", "SCMP_ARCH_AARCH64"),
    "ppc64le": ("ppc64le", "SCMP_ARCH_PPC64LE"),
    "s390x": ("s390x", "SCMP_ARCH_S390X"),
    "riscv64": ("riscv64", "SCMP_ARCH_RISCV64"),
}


class Argument(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    index: int
    value: int
    op: str
    value_two: int = 0


class _Condition(msgspec.Struct, frozen=True, rename="camel"):
    caps: tuple[str, ...] = ()
    arches: tuple[str, ...] = ()
    min_kernel: str = ""


class _Rule(msgspec.Struct, frozen=True, rename="camel"):
    action: str
    names: tuple[str, ...] | None = None
    name: str = ""
    args: tuple[Argument, ...] | None = None
    errno_ret: int | None = None
    includes: _Condition | None = None
    excludes: _Condition | None = None


class _Arch(msgspec.Struct, frozen=True, rename="camel"):
    architecture: str
    sub_architectures: tuple[str, ...] | None = None


class _Document(msgspec.Struct, frozen=True, rename="camel"):
    default_action: str
    default_errno_ret: int | None = None
    arch_map: tuple[_Arch, ...] | None = None
    architectures: tuple[str, ...] | None = None
    flags: tuple[str, ...] | None = None
    listener_path: str = ""
    listener_metadata: str = ""
    syscalls: tuple[_Rule, ...] | None = None


class Profile:
    """A profile that was read once and is converted once for each set of capabilities."""

    def __init__(
        self, text: bytes | str, *, machine: str | None = None, kernel: str | None = None, absent: Collection[str] = ()
    ) -> None:
        """`machine` and `kernel` are uname's, this machine's where None; `absent` are sub-architectures to leave out.

        Raises InvalidArgument with Docker's words.
        """
        try:
            self._document = msgspec.json.decode(text, type=_Document)
        except msgspec.MsgspecError as error:
            raise InvalidArgument(f"Decoding seccomp profile failed: {error}") from error
        self._machine = machine or os.uname().machine
        self._kernel = _version(kernel or os.uname().release)
        self._absent = frozenset(absent)
        self._converted = functools.lru_cache(maxsize=64)(self._convert)

    def oci(self, capabilities: Collection[str]) -> msgspec.Raw:
        """`linux.seccomp` for a container whose bounding set is `capabilities`: its JSON, encoded already."""
        return self._converted(frozenset(capabilities))

    def _convert(self, capabilities: frozenset[str]) -> msgspec.Raw:
        return msgspec.Raw(
            msgspec.json.encode(convert(self._document, capabilities, self._machine, self._kernel, self._absent))
        )


def convert(
    document: _Document,
    capabilities: frozenset[str],
    machine: str,
    kernel: tuple[int, int],
    absent: Collection[str] = (),
) -> dict[str, Any]:
    """Pure: the OCI form of a profile."""
    arch, native = _ARCHES.get(machine, (machine, ""))
    result: dict[str, Any] = {"defaultAction": document.default_action}
    if document.default_errno_ret is not None:
        result["defaultErrnoRet"] = document.default_errno_ret
    if document.architectures:
        result["architectures"] = list(document.architectures)
    for known in document.arch_map or ():
        if known.architecture == native:
            result["architectures"] = [native, *(sub for sub in known.sub_architectures or () if sub not in absent)]
    if document.flags:
        result["flags"] = list(document.flags)
    if document.listener_path:
        result["listenerPath"] = document.listener_path
        result["listenerMetadata"] = document.listener_metadata
    syscalls = []
    for rule in document.syscalls or ():
        excludes, includes = rule.excludes or _Condition(), rule.includes or _Condition()
        if arch in excludes.arches or capabilities.intersection(excludes.caps):
            continue
        if excludes.min_kernel and kernel >= _version(excludes.min_kernel):
            continue
        if (includes.arches and arch not in includes.arches) or not capabilities.issuperset(includes.caps):
            continue
        if includes.min_kernel and kernel < _version(includes.min_kernel):
            continue
        call: dict[str, Any] = {"names": list(rule.names or (rule.name,)), "action": rule.action}
        if rule.errno_ret is not None:
            call["errnoRet"] = rule.errno_ret
        if rule.args:
            call["args"] = list(rule.args)
        syscalls.append(call)
    result["syscalls"] = syscalls
    return result


def load(path: Path = DEFAULT) -> Profile:
    """The default profile. Raises Unavailable where it is not installed."""
    try:
        text = path.read_bytes()
    except OSError as error:
        raise Unavailable(
            f"the default seccomp profile {path} cannot be read ({error.strerror}); "
            "Debian's package golang-github-containers-common installs it"
        ) from error
    return Profile(text, absent=_absent())


def _absent() -> Collection[str]:
    """x32, where this kernel was built without it: nothing can use it, and each architecture costs runc some 2 ms.

    Its system calls are those of x86-64 with bit 30 set; getpid (39) answers ENOSYS where there is no x32.
    """
    if os.uname().machine != "x86_64":
        return ()
    libc = ctypes.CDLL(None, use_errno=True)
    answer = libc.syscall(ctypes.c_long(0x40000000 | 39))
    return ("SCMP_ARCH_X32",) if answer == -1 and ctypes.get_errno() == errno.ENOSYS else ()


def _version(release: str) -> tuple[int, int]:
    """(6, 18) of "6.18.44-x" or "6.18"."""
    major, _, rest = release.partition(".")
    minor = ""
    for character in rest:
        if not character.isdigit():
            break
        minor += character
    try:
        return int(major), int(minor or 0)
    except ValueError as error:
        raise InvalidArgument(f'Decoding seccomp profile failed: bad kernel version "{release}"') from error
