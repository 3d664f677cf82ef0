"""Where the cluster's store is, as the user types it."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from ipaddress import IPv6Address

from linkspan.errors import InvalidArgument

PORT = 2379
PREFIX = "/linkspan"
_TLS_PARTS = {"ca": "ca", "cert": "certificate", "key": "key", "name": "server_name"}
_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?\.?")


@dataclasses.dataclass(frozen=True, slots=True)
class MemberAddress:
    """A name or address (IPv6 without brackets), and a port."""

    host: str
    port: int = PORT

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclasses.dataclass(frozen=True, slots=True)
class ClusterAddress:
    """At least one member; and what our keys begin with, without a slash at its end."""

    members: tuple[MemberAddress, ...]
    prefix: str = PREFIX

    def __str__(self) -> str:
        return f"etcd://{','.join(map(str, self.members))}{'' if self.prefix == PREFIX else self.prefix}"


@dataclasses.dataclass(frozen=True, slots=True)
class Tls:
    """Paths of PEM files: whom to trust, and who we are ("" where etcd does not ask). `server_name`: what the members'
    certificates are for, where it is not the name that they are reached by."""

    ca: str
    certificate: str = ""
    key: str = ""
    server_name: str = ""


def parse_cluster(text: str) -> ClusterAddress:
    """`etcd://h1:2379,h2:2379/prefix`. Raises InvalidArgument naming the part that is wrong."""

    def wrong(reason: str) -> InvalidArgument:
        return InvalidArgument(f'invalid cluster address "{_without_password(text)}": {reason}')

    scheme, separator, rest = text.partition("://")
    if not separator or scheme != "etcd":
        raise wrong("it has to begin with etcd://, as in etcd://h1:2379,h2:2379,h3:2379")
    places, slash, path = rest.partition("/")
    if "@" in rest:
        raise wrong("a user name is not supported; etcd knows us by a certificate (--cluster-tls)")
    if "?" in rest or "#" in rest:
        raise wrong("there is no query in it")
    members: list[MemberAddress] = []
    for place in places.split(","):
        if not place:
            raise wrong("a host is missing")
        member = _parse_member(place, wrong)
        if member in members:
            raise wrong(f"{member} is there twice")
        members.append(member)
    prefix = PREFIX
    if slash and path:
        prefix = "/" + path.rstrip("/")
        if prefix == "/" or "//" in prefix or not prefix.isprintable() or " " in prefix:
            raise wrong(f'the prefix "/{path}" is not a path')
    return ClusterAddress(tuple(members), prefix)


def _without_password(text: str) -> str:
    return re.sub(r"//.*@", "//…@", text)


def _parse_member(place: str, wrong: Callable[[str], InvalidArgument]) -> MemberAddress:
    if place.startswith("["):
        host, bracket, port = place[1:].partition("]")
        try:
            host = str(IPv6Address(host))
        except ValueError:
            raise wrong(f'"{place}": "{host}" is no IPv6 address') from None
        if not bracket or (port and not port.startswith(":")):
            raise wrong(f'"{place}" is not a host and a port')
        port = port[1:] if port else str(PORT)
    else:
        host, colon, port = place.partition(":")
        if ":" in port:
            raise wrong(f'"{place}": an IPv6 address goes in brackets, as in [fd00::1]:{PORT}')
        if not _NAME.fullmatch(host):
            raise wrong(f'"{place}": "{host}" is no host name and no address')
        port = port if colon else str(PORT)
    if not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise wrong(f'"{place}": "{port}" is no port')
    return MemberAddress(host, int(port))


def parse_tls(text: str) -> Tls:
    """`ca=FILE[,cert=FILE,key=FILE][,name=NAME]`. Raises InvalidArgument naming the part that is wrong."""

    def wrong(reason: str) -> InvalidArgument:
        return InvalidArgument(f'invalid cluster TLS "{text}": {reason}')

    given: dict[str, str] = {}
    for part in text.split(","):
        name, equals, value = part.partition("=")
        if name not in _TLS_PARTS:
            raise wrong(f'"{part}" is none of ca=FILE, cert=FILE, key=FILE, name=NAME')
        if not equals or not value:
            raise wrong(f"{name}= is empty")
        if name in given:
            raise wrong(f"{name}= is there twice")
        given[name] = value
    if "ca" not in given:
        raise wrong("ca=FILE is missing: whom to trust")
    if ("cert" in given) != ("key" in given):
        raise wrong("cert= and key= go together")
    return Tls(**{_TLS_PARTS[name]: value for name, value in given.items()})
