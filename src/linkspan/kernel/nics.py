"""The host's network cards, moved into sandboxes and back: the card itself, not something that stands on it."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable

from linkspan.errors import Conflict
from linkspan.kernel import rtnetlink, wireless
from linkspan.kernel.namespaces import Namespaces
from linkspan.kernel.netlink import NetlinkSocket
from linkspan.state.objects import HOST, Nic

ALIAS = "linkspan:nic:"


class Nics:
    """`inside` is the connection into a namespace. Everything raises OSError, or an error of ours that says more."""

    def __init__(self, namespaces: Namespaces, inside: Callable[[str], NetlinkSocket]) -> None:
        self._namespaces, self._inside = namespaces, inside

    def create(self, nic: Nic) -> None:
        try:
            there = rtnetlink.link(self._inside(nic.namespace), nic.name).interface
        except OSError as error:
            if error.errno != errno.ENODEV:
                raise
            self._move_in(nic)
        else:
            if there.alias != alias_of(nic):
                raise Conflict(f"interface {nic.name} exists already in {nic.namespace}")
        rtnetlink.change_nic(self._inside(nic.namespace), nic.name, nic.mac)

    def change(self, nic: Nic) -> None:
        rtnetlink.change_nic(self._inside(nic.namespace), nic.name, nic.mac)

    def delete(self, nic: Nic) -> None:
        """Back to the host, under its name there. Where it is gone, that is success."""
        with contextlib.suppress(FileNotFoundError):
            try:
                there = rtnetlink.link(self._inside(nic.namespace), nic.name).interface
            except OSError as error:
                if error.errno == errno.ENODEV:
                    return
                raise
            self._move(nic.namespace, HOST, nic, there.index, nic.origin, "", nic.origin_mac)
            rtnetlink.up(self._inside(HOST), nic.origin)

    def _move_in(self, nic: Nic) -> None:
        index = rtnetlink.link(self._inside(HOST), nic.origin).interface.index
        self._move(HOST, nic.namespace, nic, index, nic.name, alias_of(nic), "")

    def _move(self, source: str, target: str, nic: Nic, index: int, name: str, alias: str, mac: str) -> None:
        descriptor = self._namespaces.open(target)
        try:
            if nic.wireless:
                # The card comes along, under the name it had.
                wireless.move(self._namespaces, source, index, descriptor)
                source, there = target, nic.name if source else nic.origin
                index = rtnetlink.link(self._inside(source), there).interface.index
            rtnetlink.move(self._inside(source), index, descriptor, name, alias, mac)
        finally:
            os.close(descriptor)


def alias_of(nic: Nic) -> str:
    return f"{ALIAS}{nic.origin}:{nic.origin_mac}"


def nic_of(item: rtnetlink.Link, namespace: str) -> Nic:
    """A link with an alias of ours, as found in a sandbox."""
    seen = item.interface
    origin, _, mac = seen.alias.removeprefix(ALIAS).partition(":")
    return Nic(namespace, seen.name, origin, mac, seen.mac, up=seen.up)
