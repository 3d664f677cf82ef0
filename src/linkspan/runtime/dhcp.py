"""DHCP clients of the host, run in a container's network: how each is started, and what it says.

None of them touches the interface: each calls our script instead, which writes a line for every event. What a line
means becomes the plug's record, and so the interface's address is rendered, and put back, like any other.

    <folder>/<plug id>/script    what the client calls
    <folder>/<plug id>/said      its lines: event, address, prefix length or mask, routers
    <folder>/<plug id>/client    the process: its id, and when it was started
    <folder>/<plug id>/log       what the client prints
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import ipaddress
import os
import shlex
import shutil
import signal
from pathlib import Path

from linkspan.errors import InvalidArgument, Unsupported
from linkspan.model.plug import Dhcp
from linkspan.runtime.inside import entering, find

_SCRIPT = """#!/bin/sh
echo "${reason:-$1} ${ip:-${new_ip_address:--}} ${mask:-${new_subnet_cidr:-${new_subnet_mask:--}}} \
${router:-$new_routers}" >> %s
"""
_GIVEN = {"bound", "renew", "BOUND", "RENEW", "REBIND", "REBOOT"}
_TAKEN = {"deconfig", "EXPIRE", "FAIL", "NAK", "RELEASE", "STOP"}
_CLIENTS = ("udhcpc", "dhclient", "dhcpcd")
# dhcpcd keeps its sockets and process ids by the names of interfaces, which are the same in every container.
_OWN_RUN = 'mkdir -p /run/dhcpcd && mount -t tmpfs dhcpcd /run/dhcpcd && exec "$@"'


@dataclasses.dataclass(frozen=True, slots=True)
class Told:
    """What a client says: the address that it was given, or that it has none ("")."""

    address: str = ""
    prefix_length: int = 0
    gateway: str = ""


class Client:
    """The DHCP client of one plug; the process may have been started by an earlier daemon."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._read = 0  # bytes of what it has said

    # -- the process --------------------------------------------------------------------------------------------------

    async def start(self, namespace: str, interface: str, hostname: str, asked: Dhcp) -> None:
        """Raises Unsupported where there is no such client, InvalidArgument for options that are no words."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for name in ("said", "log"):
            (self.folder / name).write_bytes(b"")
        self._read = 0
        script = self.folder / "script"
        script.write_text(_SCRIPT % shlex.quote(str(self.folder / "said")))
        script.chmod(0o700)
        words = command(asked, interface, hostname, script)
        with (self.folder / "log").open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                *entering(namespace, words),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        (self.folder / "client").write_text(f"{process.pid} {_started(process.pid)}")

    @property
    def pid(self) -> int:
        """Of the process, 0 where it does not run."""
        with contextlib.suppress(OSError, ValueError):
            pid, started = map(int, (self.folder / "client").read_text().split())
            return pid if started and _started(pid) == started else 0
        return 0

    async def ended(self) -> None:
        """Returns once it does not run."""
        loop, gone = asyncio.get_running_loop(), asyncio.Event()
        try:
            descriptor = os.pidfd_open(self.pid)
        except OSError:
            return
        loop.add_reader(descriptor, gone.set)
        try:
            await gone.wait()
        finally:
            loop.remove_reader(descriptor)
            os.close(descriptor)

    async def end(self) -> None:
        """Ends it with all that it has started, and forgets what it said."""
        for number, patience in ((signal.SIGTERM, 2.0), (signal.SIGKILL, 2.0)):
            if not (pid := self.pid):
                break
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, number)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.ended(), patience)
        shutil.rmtree(self.folder, ignore_errors=True)

    # -- what it says -------------------------------------------------------------------------------------------------

    def news(self) -> list[Told]:
        """What it has said since the last call, as far as it concerns the address."""
        try:
            text = (self.folder / "said").read_bytes()
        except FileNotFoundError:
            return []
        whole = text.rfind(b"\n") + 1
        lines = text[self._read : whole].decode(errors="replace").splitlines()
        self._read = whole
        return [told for line in lines if (told := parse(line)) is not None]

    def last_words(self) -> str:
        with contextlib.suppress(OSError):
            lines = (self.folder / "log").read_bytes()[-2000:].decode(errors="replace").splitlines()
            return lines[-1].strip() if lines else ""
        return ""


def command(asked: Dhcp, interface: str, hostname: str, script: Path) -> list[str]:
    """A client's command line. Raises Unsupported where this host has none, InvalidArgument."""
    client, words = _found(asked.client)
    try:
        options = shlex.split(asked.options)
    except ValueError as error:
        raise InvalidArgument(f"DHCP options {asked.options!r}: {str(error).lower()}") from None
    match client:
        case "udhcpc":
            words += ["-f", "-i", interface, "-s", str(script), "-x", f"hostname:{hostname}"]
            words += [] if asked.stays else ["-q", "-n"]
        case "dhclient":
            files = ["-pf", str(script.with_name("pid")), "-lf", str(script.with_name("leases"))]
            words += ["-4", "-d", "-sf", str(script), *files, *([] if asked.stays else ["-1"])]
            return [*words, *options, interface]
        case "dhcpcd":
            words += ["-4", "-B", "-q", "--noconfigure", "-c", str(script), "-h", hostname]
            own = ["unshare", "--mount", "--", "sh", "-c", _OWN_RUN, "dhcpcd"]
            return [*own, *words, *options, interface]
    return [*words, *options]


def _found(client: str) -> tuple[str, list[str]]:
    for name in (client,) if client else _CLIENTS:
        if path := find(name):
            return name, [path]
        if name == "udhcpc" and (path := find("busybox")):
            return name, [path, name]
    what = f"no DHCP client {client}" if client else f"no DHCP client ({', '.join(_CLIENTS)})"
    raise Unsupported(f"there is {what} on this host: install one, for instance udhcpc")


def parse(line: str) -> Told | None:
    """A line of the script's; None where it says nothing of the address, or nothing that makes sense."""
    event, _, rest = line.partition(" ")
    if event in _TAKEN:
        return Told()
    if event not in _GIVEN:
        return None
    address, mask, *routers = [*rest.split(), "", ""][:3]
    try:
        own = ipaddress.IPv4Interface(f"{address}/{mask}")
        gateway = str(ipaddress.IPv4Address(routers[0])) if routers[0] else ""
    except ValueError:
        return None
    return Told(str(own.ip), own.network.prefixlen, gateway)


def _started(pid: int) -> int:
    """When a process was started, in ticks since the machine was; 0 where there is none, or it has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0
    return 0 if fields[0] in "ZX" else int(fields[19])
