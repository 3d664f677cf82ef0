"""resolv.conf(5): what a file says."""

from __future__ import annotations

import dataclasses
import ipaddress
import itertools
import re
from collections.abc import Iterable

from linkspan.errors import InvalidArgument

_WORD = re.compile(r"[^\s#;]{1,255}")


@dataclasses.dataclass(frozen=True, slots=True)
class ResolvConf:
    """`other` are lines with directives that concern nobody but the C library; `bad` are servers that are none."""

    servers: tuple[str, ...] = ()
    search: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    other: tuple[str, ...] = ()
    bad: tuple[str, ...] = ()

    def has(self, option: str) -> bool:
        return has_option(self.options, option)


def has_option(options: Iterable[str], name: str) -> bool:
    """Whether one of `ndots:1`, `edns0`… is that of the name."""
    return any(option.partition(":")[0] == name for option in options)


def parse_resolv_conf(text: str) -> ResolvConf:
    """Of search lines the last one counts; options add up. Comments begin with # or ;."""
    servers, search, options = list[str](), list[str](), list[str]()
    other, bad = list[str](), list[str]()
    for line in text.splitlines():
        words = list(itertools.takewhile(lambda word: word[0] not in "#;", line.split()))
        if not words:
            continue
        match words:
            case ["nameserver", address, *_]:
                (servers if is_address(address) else bad).append(address)
            case ["search" | "domain", *domains] if domains:
                search = domains
            case ["options", *more]:
                options += more
            case ["nameserver" | "search" | "domain"]:
                continue
            case _:
                other.append(line)
    return ResolvConf(tuple(servers), tuple(search), tuple(options), tuple(other), tuple(bad))


def check_overrides(servers: Iterable[str], search: Iterable[str], options: Iterable[str]) -> None:
    """What is to stand in the file in place of the host's: addresses, and words. Raises InvalidArgument."""
    for server in servers:
        if not is_address(server):
            raise InvalidArgument(f"invalid DNS server: {server!r} is not an ip address")
    for what, words in (("search domain", search), ("option", options)):
        for word in words:
            if not _WORD.fullmatch(word):
                raise InvalidArgument(f"invalid DNS {what}: {word!r}")


def is_address(text: str) -> bool:
    """IPv6 link-local addresses come with their interface: fe80::1%eth0."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
