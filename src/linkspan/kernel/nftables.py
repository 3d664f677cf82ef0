"""The nft table `inet linkspan`, edited through libnftables in this process: some 0.1 ms a change; the command takes 5.

The table is owned (nobody else's `flush ruleset` touches it) and persistent (it stays when the daemon ends; the next
one takes it over). nft 1.0.6 has no word for the latter, so the table is made by one message of our own on the
connection of libnftables itself, to which the ownership is bound. Where it is not owned, by choice or for want of a
newer kernel, and somebody has flushed it, the next look or change makes it again; its elements are the caller's to
bring back.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import hashlib
import os
import re
import socket
import struct
from collections.abc import Collection, Iterable, Sequence
from importlib import resources
from pathlib import Path

from linkspan.errors import Conflict, Internal, Unsupported
from linkspan.kernel import elements
from linkspan.kernel.failure import explain
from linkspan.kernel.netlink import ACK, CREATE, NETLINK_NETFILTER, NetlinkSocket, be32, text
from linkspan.state.objects import Key, NftElement
from linkspan.state.plan import Create, Delete, Replace, Step

TABLE = "linkspan"
RULESET = resources.files("linkspan.kernel").joinpath("ruleset.nft").read_text()
_MARK_PLACE = "# (--bridge-accept-fwmark puts a rule here.)"
# A chain without rules, whose name says which static ruleset is loaded.
VERSION = "ruleset_" + hashlib.sha256(RULESET.encode()).hexdigest()[:12]

_OWNER_PERSIST = 0x2 | 0x4  # NFT_TABLE_F_OWNER (Linux 5.12), NFT_TABLE_F_PERSIST (6.9)
_BATCH_BEGIN, _BATCH_END = 0x10, 0x11
_NEWTABLE = 10 << 8
_BATCH = struct.pack("=BBH", 0, 0, socket.htons(10))
_FAMILY = struct.pack("=BBH", 1, 0, 0)
_SO_PROTOCOL = 38
_LARGE = 1 << 16  # bytes of commands: about a thousand elements
_LIBC = ctypes.CDLL(None)


class Nftables:
    """Our table. Made and used in one thread, in the namespace whose traffic it rules."""

    def __init__(self, *, owned: bool = True, accept_mark: str = "") -> None:
        """Makes or takes over the table. Packets with `accept_mark` (`0x1` or `0x1/0xff`) may reach containers.

        Conflict if another process owns it, Unsupported without nftables.
        """
        self._ruleset, self._version = RULESET, VERSION
        if accept_mark:
            mark, _, mask = accept_mark.partition("/")
            rule = f"meta mark and {mask} == {mark} accept" if mask else f"meta mark {mark} accept"
            self._ruleset = RULESET.replace(_MARK_PLACE, rule)
            self._version = f"{VERSION}_{mark}_{mask}"
        self._library = _Library()
        self._reader = NetlinkSocket(NETLINK_NETFILTER)
        self._types = elements.set_types(RULESET)
        self._to_be_owned = owned
        try:
            self._make()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Lets go of the table, which stays."""
        self._reader.close()
        self._library.close()

    def apply(self, steps: Sequence[Step]) -> None:
        """All the elements' steps in one transaction: all or nothing. Internal, or what `read` raises."""
        try:
            self._library.run(_transaction(steps))
        except NftError:
            # Something is not as the caller remembers: what is to go has gone, or what is to come is there. Compare
            # with what there is, so that only a real contradiction fails.
            rest = self._still_to_do(steps)
            if not rest:
                return
            try:
                self._library.run(_transaction(rest))
            except NftError as error:
                raise Internal(f"cannot change the elements of nft table inet {TABLE}: {error}") from None

    def read(self) -> list[NftElement]:
        """All elements of all sets; a table that somebody took away is made again."""
        return self._read(self._types.values())

    def ruleset(self) -> str:
        try:
            return self._library.run(f"list table inet {TABLE}")
        except NftError as error:
            raise Internal(f"cannot list nft table inet {TABLE}: {error}") from None

    def _still_to_do(self, steps: Sequence[Step]) -> list[Step]:
        touched = {(step.before if isinstance(step, Delete) else step.after).key[1] for step in steps}
        there: dict[Key, NftElement] = {
            item.key: item for item in self._read([self._types[name] for name in touched if name in self._types])
        }
        rest: list[Step] = []
        for step in steps:
            if isinstance(step, Delete):
                if (before := there.get(step.before.key)) is not None:
                    rest.append(Delete(before))
            elif (before := there.get(step.after.key)) is None:
                rest.append(Create(step.after))
            elif before != step.after:
                rest.append(Replace(before, step.after))
        return rest

    def _read(self, kinds: Collection[elements.SetType]) -> list[NftElement]:
        def found() -> list[NftElement]:
            return [item for kind in kinds for item in elements.read(self._reader, TABLE, kind)]

        try:
            try:
                return found()
            except OSError as error:
                if error.errno != errno.ENOENT:
                    raise
            self._make(anew=True)
            return found()
        except OSError as error:
            raise explain(error, f"read the elements of nft table inet {TABLE}") from error

    def _make(self, *, anew: bool = False) -> None:
        """The table and its static part. `anew`: something of it is missing, whatever it says it is."""
        self.owned = self._to_be_owned and self._own()
        self._load(anew=anew)

    def _own(self) -> bool:
        """Takes the table, making it if need be; False where the kernel, or a plain table that is there, forbids it."""
        connection = NetlinkSocket(NETLINK_NETFILTER, descriptor=os.dup(self._library.descriptor))
        try:
            connection.request(
                [
                    (_BATCH_BEGIN, 0, _BATCH),
                    (_NEWTABLE, CREATE | ACK, _FAMILY + text(1, TABLE) + be32(2, _OWNER_PERSIST)),
                    (_BATCH_END, 0, _BATCH),
                ]
            )
        except OSError as error:
            if error.errno in (errno.EOPNOTSUPP, errno.EINVAL):
                return False
            if error.errno == errno.EPERM and elements.chains(self._reader, TABLE):
                raise Conflict(
                    f"nft table inet {TABLE} belongs to another running process: is another linkspand running here?"
                ) from None
            raise explain(error, f"make nft table inet {TABLE}") from error
        finally:
            connection.close()
        return True

    def _load(self, *, anew: bool) -> None:
        """Loads the static part unless this very one is there; elements stay, and there is no moment without rules."""
        try:
            found = elements.chains(self._reader, TABLE)
        except OSError as error:
            raise explain(error, f"read nft table inet {TABLE}") from error
        if self._version in found and not anew:
            return
        static = f"{_commands(self._ruleset)}add chain inet {TABLE} {self._version}\n"
        table = "" if self.owned else f"add table inet {TABLE}\n"
        renewed = f"flush table inet {TABLE}\n" + "".join(f"delete chain inet {TABLE} {name}\n" for name in found)
        try:
            self._library.run(f"{table}{renewed if found else ''}{static}")
        except NftError:
            # A set of an older version has another type: its elements go with it, and the reconcile brings them back.
            try:
                sets = "".join(f"delete set inet {TABLE} {name}\n" for name in elements.sets(self._reader, TABLE))
                self._library.run(f"{table}{renewed}{sets}{static}")
            except (NftError, OSError) as error:
                raise Internal(f"cannot load the ruleset into nft table inet {TABLE}: {error}") from None


class NftError(Exception):
    """libnftables refused; its own words."""


class _Library:
    """One libnftables context, with the netlink connection that owns the table.

    libnftables waits with select(), so its connection has to be among the first 1024 descriptors of the process: it is
    opened when the daemon starts, and never again.
    """

    def __init__(self) -> None:
        try:
            self._nft = ctypes.CDLL("libnftables.so.1")
        except OSError:
            raise Unsupported("libnftables.so.1 is missing: install the package libnftables1") from None
        self._nft.nft_ctx_new.restype = ctypes.c_void_p
        for name in ("nft_ctx_get_output_buffer", "nft_ctx_get_error_buffer"):
            getattr(self._nft, name).restype = ctypes.c_char_p
        before = _netfilter_sockets()
        self._context = ctypes.c_void_p(self._nft.nft_ctx_new(0))
        opened = _netfilter_sockets() - before
        if not self._context or len(opened) != 1:
            raise Internal("libnftables did not open a netlink connection")
        (self.descriptor,) = opened
        self._nft.nft_ctx_buffer_output(self._context)
        self._nft.nft_ctx_buffer_error(self._context)

    def run(self, commands: str) -> str:
        """Runs commands as one transaction and answers what they print. Raises NftError."""
        failed = self._nft.nft_run_cmd_from_buffer(self._context, commands.encode())
        if len(commands) > _LARGE:
            _LIBC.malloc_trim(0)  # libnftables frees some 3 KiB for each element, which the C library would keep
        output = self._nft.nft_ctx_get_output_buffer(self._context) or b""
        errors = self._nft.nft_ctx_get_error_buffer(self._context) or b""
        if failed:
            # The first line says what; the rest repeats the command, with thousands of elements perhaps.
            first = errors.decode(errors="replace").strip().split("\n")[0][:300]
            raise NftError(first.rpartition("Error: ")[2] or "libnftables gave no reason")
        return str(output.decode(errors="replace"))

    def close(self) -> None:
        if self._context:
            self._nft.nft_ctx_free(self._context)
            self._context = ctypes.c_void_p()


def _netfilter_sockets() -> set[int]:
    """The descriptors of this process that are netlink connections to netfilter."""
    found = set()
    for entry in list(Path("/proc/self/fd").iterdir()):
        with contextlib.suppress(OSError):
            if not str(entry.readlink()).startswith("socket:"):
                continue
            with socket.socket(fileno=os.dup(int(entry.name))) as duplicate:
                if (
                    duplicate.family == socket.AF_NETLINK
                    and duplicate.getsockopt(socket.SOL_SOCKET, _SO_PROTOCOL) == NETLINK_NETFILTER
                ):
                    found.add(int(entry.name))
    return found


def _commands(ruleset: str) -> str:
    """The ruleset as one command for each set, chain and rule.

    A `table` block implies a message about the table itself, without the flags it has, which the kernel takes for an
    attempt to change them.
    """
    objects: list[str] = []
    rules: list[str] = []
    chain = ""
    for line in map(str.strip, ruleset.splitlines()):
        kind, _, rest = line.partition(" ")
        if kind in ("set", "map"):
            objects.append(f"add {kind} inet {TABLE} {rest}")
        elif kind == "chain":
            chain = rest.removesuffix(" {")
            objects.append(f"add chain inet {TABLE} {chain}")
        elif kind == "type":
            objects[-1] += f" {{ {line} }}"
        elif line and kind not in ("#", "}", "table"):
            rules.append(f"add rule inet {TABLE} {chain} {line}")
    return "\n".join([*objects, *rules, ""])


def _transaction(steps: Iterable[Step]) -> str:
    """Commands for steps: every deletion before the first addition."""
    gone: dict[str, list[str]] = {}
    made: dict[str, list[str]] = {}
    for step in steps:
        if not isinstance(step, Create):
            before = _element(step.before)
            gone.setdefault(before.set, []).append(before.element)
        if not isinstance(step, Delete):
            after = _element(step.after)
            made.setdefault(after.set, []).append(_text(after))
    return "".join(
        f"{verb} element inet {TABLE} {name} {{ {', '.join(items)} }}\n"
        for verb, sets in (("delete", gone), ("add", made))
        for name, items in sets.items()
    )


def _element(item: object) -> NftElement:
    assert isinstance(item, NftElement)
    return item


def _text(element: NftElement) -> str:
    comment = f' comment "{_UNQUOTABLE.sub("", element.comment)[:128]}"' if element.comment else ""
    return f"{element.element}{comment}{' : ' + element.data if element.data else ''}"


_UNQUOTABLE = re.compile(r'["\\\n]')
