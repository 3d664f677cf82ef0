"""Port 53 of 127.0.0.11 in a sandbox, led to the ports where the resolver really listens.

A container may have a DNS server of its own at port 53 of every address, so that the resolver cannot. Its packets are
translated in the sandbox by a table of two rules each way, `ip linkspan-dns`, which goes with the namespace. Ports are
rewritten without connection tracking, which would look at every packet in the sandbox from then on, and may drop one of
two questions asked at once from one port, as clients do for A and AAAA.
"""

from __future__ import annotations

import ctypes
import os

from linkspan.errors import Internal
from linkspan.kernel.libnftables import Library, NftError

ADDRESS = "127.0.0.11"
TABLE = "linkspan-dns"
# Emptied, not removed: the removal of a chain makes the kernel wait for some 10 ms. What was asked of a resolver before
# is still answered by it: the ports from which answers come add up, one with each resolver.
_EMPTIED = f"""\
add table ip {TABLE}
add set ip {TABLE} udp_ports {{ type inet_service; }}
add set ip {TABLE} tcp_ports {{ type inet_service; }}
add chain ip {TABLE} output {{ type filter hook output priority -300; policy accept; }}
flush chain ip {TABLE} output
"""
_RULES = f"""\
add element ip {TABLE} udp_ports {{ %(udp)d }}
add element ip {TABLE} tcp_ports {{ %(tcp)d }}
add rule ip {TABLE} output ip daddr {ADDRESS} udp dport 53 notrack udp dport set %(udp)d
add rule ip {TABLE} output ip daddr {ADDRESS} tcp dport 53 notrack tcp dport set %(tcp)d
add rule ip {TABLE} output ip saddr {ADDRESS} udp sport @udp_ports notrack udp sport set 53
add rule ip {TABLE} output ip saddr {ADDRESS} tcp sport @tcp_ports notrack tcp sport set 53
"""
_LIBC = ctypes.CDLL(None)
_RESERVED = 16  # one holds some 500 KiB for as long as it is open


class Redirect:
    """For a process with a single thread, and thousands of descriptors.

    libnftables waits with select(), so that its connections have to be among the first 1,024 descriptors: some are
    reserved for them. And to close a connection through which something was removed takes 10 ms, unless the kernel has
    got round to the removal meanwhile: so they are left open for `tidy`.
    """

    def __init__(self) -> None:
        """Made before the process has many descriptors."""
        self._reserved = [_reserve() for _ in range(_RESERVED)]
        self._left: list[Library] = []

    def install(self, udp: int, tcp: int) -> None:
        """In the namespace that the process is in, in place of what was there. Raises Internal, Unsupported."""
        self._run(_EMPTIED + _RULES % {"udp": udp, "tcp": tcp})

    def remove(self) -> None:
        """The rules, from the namespace that the process is in; an empty table stays. Raises Internal, Unsupported."""
        self._run(_EMPTIED)

    def tidy(self) -> None:
        """Closes what the last changes left open; best called a moment after them."""
        for library in self._left:
            library.close()
            self._reserved.append(_reserve())
        self._left.clear()
        _LIBC.malloc_trim(0)

    def _run(self, commands: str) -> None:
        if not self._reserved:
            self.tidy()
        os.close(self._reserved.pop())
        library = Library(owner=False)
        self._left.append(library)
        try:
            library.run(commands)
        except NftError as error:
            raise Internal(f"cannot lead port 53 of {ADDRESS} to the resolver: {error}") from None


def _reserve() -> int:
    return os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
