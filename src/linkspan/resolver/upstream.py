"""Which servers are asked for names that are not ours."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from linkspan.kernel.redirect import ADDRESS
from linkspan.model.resolv_conf import ResolvConf, is_address, parse_resolv_conf
from linkspan.state.names import Listening

RESOLV_CONF = Path("/etc/resolv.conf")
MOST = 3  # servers that are tried, as Docker and the C library do


@dataclasses.dataclass(frozen=True, slots=True)
class Server:
    """`namespace` is the path of the one that it is asked from, "" for the host's."""

    address: str
    namespace: str = ""


class Upstream:
    """The host's own servers are read anew whenever its file changes: a laptop that moves takes them along."""

    def __init__(self, path: Path = RESOLV_CONF) -> None:
        self._path = path
        self._seen: tuple[int, ...] = ()
        self._host = ResolvConf()

    def servers(self, sandbox: Listening) -> tuple[Server, ...]:
        """In the order in which they are to be tried. What has no way out may not use the host's."""
        if sandbox.servers is not None:
            # Not ourselves; and nothing that would have to be looked up first.
            own = (address for address in sandbox.servers if address != ADDRESS and is_address(address))
            return tuple(Server(address, sandbox.path) for address in own)[:MOST]
        return tuple(map(Server, self._read().servers))[:MOST] if sandbox.outward else ()

    def ndots(self, sandbox: Listening) -> bool:
        """Whether the option ndots was set, and not by us."""
        return self._read().has("ndots") if sandbox.ndots is None else sandbox.ndots

    def _read(self) -> ResolvConf:
        try:
            found = self._path.stat()
            seen = (found.st_mtime_ns, found.st_ino, found.st_size)
            if seen != self._seen:
                self._host, self._seen = parse_resolv_conf(self._path.read_text(errors="replace")), seen
        except OSError:
            self._host, self._seen = ResolvConf(), ()
        return self._host
