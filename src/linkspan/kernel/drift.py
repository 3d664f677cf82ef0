"""What the kernel tells nobody of: settings that were changed, and files of namespaces that were removed.

It is looked for every now and then. A namespace whose file is gone lives on in its processes, and in the connection
that we have into it: that connection is what it is held by again.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from linkspan.kernel import sysctl
from linkspan.kernel.namespaces import Namespaces
from linkspan.kernel.netlink import NetlinkSocket

_SIOCGSKNS = 0x894C  # the network namespace that a socket is in, as a descriptor


class Drift:
    """Of one host: `connections` are those into namespaces, by their files' paths."""

    def __init__(self, folder: Path, namespaces: Namespaces, connections: Mapping[str, NetlinkSocket]) -> None:
        self._folder, self._namespaces, self._connections = folder, namespaces, connections
        self._settings: dict[str, str] = {}
        self._told: frozenset[tuple[str, str]] = frozenset()
        self._folder_changed = 0

    def expect(self, name: str, value: str) -> None:
        """A setting of the host that is to stay as it is now."""
        self._settings[name] = value

    def expect_only(self, names: Iterable[str]) -> None:
        """No other settings than these are of interest any more."""
        self._settings = {name: self._settings[name] for name in set(names) & self._settings.keys()}

    def happened(self) -> bool:
        """Whether something is not as it was: once for each difference, as it may not be possible to put it back."""
        found = frozenset((*self._changed_settings(), *(("namespace", path) for path in self._lost_files())))
        news = bool(found - self._told)
        self._told = found
        return news

    def hold_again(self) -> None:
        """Files of namespaces that are gone are made again. OSError where that is impossible.

        For whoever is about to look at everything: what is different afterwards is news.
        """
        self._folder_changed = 0
        for path in self._lost_files():
            descriptor = fcntl.ioctl(self._connections[path].fileno(), _SIOCGSKNS)
            try:
                self._namespaces.hold(path, descriptor)
            finally:
                os.close(descriptor)
        self._told = frozenset()

    def _changed_settings(self) -> Iterable[tuple[str, str]]:
        for name, value in list(self._settings.items()):
            now = None
            with contextlib.suppress(OSError):
                now = sysctl.read(name)
            if now is None:
                del self._settings[name]  # it went with its interface
            elif now != value:
                yield name, now

    def _lost_files(self) -> list[str]:
        # Whoever removes a file changes its folder: thousands of files need not be asked for each time.
        changed = self._folder.stat().st_mtime_ns
        if changed == self._folder_changed:
            return []
        lost = [path for path in self._connections if path and not self._namespaces.exists(path)]
        if not lost:
            self._folder_changed = changed
        return lost
