"""The versions of the API that are answered, and what the newest ones have left behind."""

from __future__ import annotations

from typing import TypeAlias

Version: TypeAlias = tuple[int, int]

MIN_VERSION: Version = (1, 24)
MAX_VERSION: Version = (1, 52)

# Since then a container's inspect has its networks' settings only under their names, and events have no `status`,
# `id` and `from` beside `Action`, `Actor` and `Type`; a network's inspect says how much of its pools is used.
LEAN: Version = (1, 52)
# Before, a container had one MAC address; since then each of its endpoints has.
MAC_OF_ENDPOINT: Version = (1, 44)
# Before, a port with an empty list of bindings is published.
NO_EMPTY_BINDINGS: Version = (1, 53)
# Before, a container's short id was among its aliases; since then it is among DNSNames.
DNS_NAMES: Version = (1, 45)
# Before, a network could not be without IPv4.
IPV4_OPTIONAL: Version = (1, 48)
# docker-compose 1.x asks in the newest version that the engine names, and breaks where a field is gone that it knew:
# it is answered as in the last version that had them all.
COMPOSE_1: Version = (1, 44)


def text(version: Version) -> str:
    return "{}.{}".format(*version)
