"""Options of networks whose addresses belong to identities (`reservations`), and of addresses that are not theirs."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Mapping

import msgspec

from linkspan.errors import InvalidArgument
from linkspan.model.duration import parse_span
from linkspan.model.network import Network, Range

OPTIONS = frozenset({"exclude", "identity", "rest"})
_IDENTITY = re.compile(r"none|name|label:[^\s,]+(,[^\s,]+)*")
_REST = "10m"


def with_identities(network: Network) -> Network:
    """The network with what its options say. Raises InvalidArgument."""
    options: Mapping[str, str] = network.options
    identity = options.get("identity") or "name"
    if not _IDENTITY.fullmatch(identity):
        raise InvalidArgument(f"invalid value for identity: {identity!r}: use name, label:KEY[,KEY…] or none")
    return msgspec.structs.replace(
        network,
        identity="" if identity == "none" else identity,
        rest=_span(options.get("rest") or _REST),
        excluded=tuple(_ranges(options.get("exclude", ""))),
    )


def _span(text: str) -> float:
    seconds = 0.0 if text == "0" else parse_span(text)
    if seconds is None:
        raise InvalidArgument(f"invalid value for rest: {text!r}: use a span of time as 10m or 90s, or 0")
    return seconds


def _ranges(text: str) -> Iterator[Range]:
    """`10.0.0.1-10.0.0.50,10.0.0.99,10.0.1.0/26`. Raises InvalidArgument."""
    for part in filter(None, text.split(",")):
        try:
            if "/" in part:
                subnet = ipaddress.ip_network(part)
                low, high = subnet[0], subnet[-1]
            else:
                first, dash, last = part.partition("-")
                low, high = ipaddress.ip_address(first), ipaddress.ip_address(last if dash else first)
            if low.version != high.version or int(low) > int(high):
                raise ValueError
        except ValueError:
            raise InvalidArgument(f"invalid value for exclude: {part!r}: use ADDRESS, FIRST-LAST or a subnet") from None
        yield Range(first=str(low), last=str(high))
