"""Who may try tokens, and how often: a few wrong ones from one place, and not many from all together.

A token cannot be guessed; but whoever tries is to cost us nothing, and to be seen in the log. Whoever has the right one
is let in as long as the others do not use up what all have together, which takes a minute to come back.
"""

from __future__ import annotations

import ipaddress

EACH, ALL = 5, 60  # wrong tokens within a minute
WINDOW = 60.0  # seconds
_PREFIX = {4: 32, 6: 64}  # who has one address of an IPv6 subnet has all of them


class Guessing:
    """Times are seconds of one clock that only goes forward."""

    def __init__(self, each: int = EACH, together: int = ALL) -> None:
        self._each, self._together = each, together
        self._wrong: list[tuple[float, str]] = []  # when, and where from; at most `together`

    def may_try(self, address: str, now: float) -> bool:
        self._forget(now)
        place = _place(address)
        return len(self._wrong) < self._together and sum(p == place for _, p in self._wrong) < self._each

    def was_wrong(self, address: str, now: float) -> int:
        """How many have been wrong from there within the last minute, with this one."""
        self._forget(now)
        place = _place(address)
        self._wrong.append((now, place))
        return sum(p == place for _, p in self._wrong)

    def _forget(self, now: float) -> None:
        self._wrong = [(when, place) for when, place in self._wrong if now - when < WINDOW]


def _place(address: str) -> str:
    ip = ipaddress.ip_address(address.partition("%")[0])
    ip = ip.ipv4_mapped or ip if isinstance(ip, ipaddress.IPv6Address) else ip
    return str(ipaddress.ip_network((ip, _PREFIX[ip.version]), strict=False))
