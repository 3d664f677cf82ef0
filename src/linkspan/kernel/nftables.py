"""The nft table `inet linkspan`: its static part is loaded by libnftables, its elements are written by netlink.

The table is owned (nobody else's `flush ruleset` touches it) and persistent (it stays when the daemon ends; the next
one takes it over). nft 1.0.6 has no word for the latter, so the table is made by one message of our own on the
connection of libnftables itself, to which the ownership is bound. Where it is not owned, by choice or for want of a
newer kernel, and somebody has flushed it, the next look or change makes it again; its elements are the caller's to
bring back.
"""

from __future__ import annotations

import errno
import hashlib
import os
import socket
import struct
import time
from collections.abc import Collection, Iterable, Sequence
from importlib import resources

from linkspan.errors import Conflict, Internal
from linkspan.kernel import elements, user_table
from linkspan.kernel.failure import explain
from linkspan.kernel.libnftables import Library, NftError
from linkspan.kernel.netlink import ACK, CREATE, NETLINK_NETFILTER, NetlinkSocket, be32, text
from linkspan.kernel.ruleset import parse
from linkspan.state.objects import KernelObject, Key, NftElement
from linkspan.state.plan import Create, Delete, Replace, Step

TABLE = "linkspan"
RULESET = resources.files("linkspan.kernel").joinpath("ruleset.nft").read_text()
_MARK_PLACE = "# (--bridge-accept-fwmark puts a rule here.)"
# A chain without rules, whose name says which static ruleset is loaded.
VERSION = "ruleset_" + hashlib.sha256(RULESET.encode()).hexdigest()[:12]

_OWNER_PERSIST = 0x2 | 0x4  # NFT_TABLE_F_OWNER (Linux 5.12), NFT_TABLE_F_PERSIST (6.9)
_BATCH_BEGIN, _BATCH_END = 0x10, 0x11
_NEWTABLE, _NEWSETELEM, _DELSETELEM = 10 << 8, 10 << 8 | 12, 10 << 8 | 14
_BATCH = struct.pack("=BBH", 0, 0, socket.htons(10))
_FAMILY = struct.pack("=BBH", 1, 0, 0)
_LETTING_GO = 1.0  # seconds


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
        self._library = Library()
        # A connection of libnftables: the table is owned by it. Between two calls there is nothing in it to be read.
        self._owner = NetlinkSocket(NETLINK_NETFILTER, descriptor=os.dup(self._library.descriptor))
        self._reader = NetlinkSocket(NETLINK_NETFILTER)
        self._types = elements.set_types(RULESET)
        self._to_be_owned = owned
        try:
            self._make()
            self._complete_user_table()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Lets go of the table, which stays."""
        self._reader.close()
        self._owner.close()
        self._library.close()

    @property
    def port(self) -> int:
        """The number of the netlink connection by which everything of ours is changed."""
        return self._owner.port

    def apply(self, steps: Sequence[Step]) -> None:
        """All the elements' steps in one transaction: all or nothing. Internal, or what `read` raises."""
        try:
            self._write(steps)
        except OSError:
            # Something is not as the caller remembers: what is to go has gone, or what is to come is there. Compare
            # with what there is, so that only a real contradiction fails.
            rest = self._still_to_do(steps)
            if not rest:
                return
            try:
                self._write(rest)
            except OSError as error:
                raise explain(error, f"change the elements of nft table inet {TABLE}") from error

    def _write(self, steps: Iterable[Step]) -> None:
        """Every deletion before the first addition. OSError, with nothing changed."""
        gone = _by_set(step.before for step in steps if not isinstance(step, Create))
        made = _by_set(step.after for step in steps if not isinstance(step, Delete))
        changes = [
            (kind, flags, body)
            for kind, flags, sets in ((_DELSETELEM, 0, gone), (_NEWSETELEM, CREATE, made))
            for name, found in sets.items()
            for body in elements.written(TABLE, self._types[name], found)
        ]
        kind, flags, body = changes.pop()
        batch = [(_BATCH_BEGIN, 0, _BATCH), *changes, (kind, flags | ACK, body), (_BATCH_END, 0, _BATCH)]
        try:
            self._owner.request(batch)
        except OSError:
            for _ in self._owner.events():
                pass  # what else the kernel says of the same transaction: libnftables must not find it there
            raise

    def read(self) -> list[NftElement]:
        """All elements of all sets; a table that somebody took away is made again, the administrator's too."""
        self._complete_user_table()
        return self._read(self._types.values())

    def _complete_user_table(self) -> None:
        user_table.complete(self._reader, self._library.run)

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
        """Takes the table, making it if need be; False where the kernel, or a plain table that is there, forbids it.

        Whatever else of a daemon that was killed we have got hold of already: the kernel may need a moment more to see
        that the table's owner is gone. Raises Conflict.
        """
        patience = time.monotonic() + _LETTING_GO
        while True:
            try:
                self._take_table()
                return True
            except OSError as error:
                if error.errno in (errno.EOPNOTSUPP, errno.EINVAL):
                    return False
                if error.errno != errno.EPERM or not elements.chains(self._reader, TABLE):
                    raise explain(error, f"make nft table inet {TABLE}") from error
            if time.monotonic() > patience:
                raise Conflict(
                    f"nft table inet {TABLE} belongs to another running process: is another linkspand running here?"
                )
            time.sleep(0.01)

    def _take_table(self) -> None:
        self._owner.request(
            [
                (_BATCH_BEGIN, 0, _BATCH),
                (_NEWTABLE, CREATE | ACK, _FAMILY + text(1, TABLE) + be32(2, _OWNER_PERSIST)),
                (_BATCH_END, 0, _BATCH),
            ]
        )

    def _load(self, *, anew: bool) -> None:
        """Loads the static part unless this very one is there; elements stay, and there is no moment without rules."""
        try:
            found = elements.chains(self._reader, TABLE)
        except OSError as error:
            raise explain(error, f"read nft table inet {TABLE}") from error
        if self._version in found and not anew:
            return
        static = f"{parse(self._ruleset, TABLE).commands()}add chain inet {TABLE} {self._version}\n"
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


def _by_set(items: Iterable[KernelObject]) -> dict[str, list[NftElement]]:
    found: dict[str, list[NftElement]] = {}
    for item in items:
        assert isinstance(item, NftElement)
        found.setdefault(item.set, []).append(item)
    return found
