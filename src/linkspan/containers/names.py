"""Names for containers whose creator gives none: an adjective and something from the world of networks."""

from __future__ import annotations

import re
from collections.abc import Callable

from linkspan.errors import InvalidArgument

_VALID = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+")

_ADJECTIVES = [
    "agile",
    "amber",
    "azure",
    "bold",
    "brave",
    "brisk",
    "calm",
    "clear",
    "clever",
    "cosmic",
    "crisp",
    "daring",
    "dapper",
    "eager",
    "early",
    "earnest",
    "fair",
    "fleet",
    "fond",
    "gentle",
    "gleaming",
    "golden",
    "grand",
    "happy",
    "hardy",
    "honest",
    "jolly",
    "keen",
    "kind",
    "lively",
    "loyal",
    "lucid",
    "lucky",
    "mellow",
    "merry",
    "mighty",
    "neat",
    "nimble",
    "noble",
    "patient",
    "placid",
    "polite",
    "proud",
    "quick",
    "quiet",
    "rapid",
    "ready",
    "serene",
    "sharp",
    "silent",
    "silver",
    "smooth",
    "snug",
    "solid",
    "spry",
    "steady",
    "still",
    "sunny",
    "swift",
    "tidy",
    "trusty",
    "upbeat",
    "vivid",
    "warm",
    "wise",
    "witty",
    "zesty",
]
_NOUNS = [
    "anchor",
    "arc",
    "atlas",
    "beacon",
    "bridge",
    "buoy",
    "canal",
    "cedar",
    "comet",
    "compass",
    "coral",
    "cove",
    "delta",
    "dune",
    "ember",
    "falcon",
    "ferry",
    "fjord",
    "gull",
    "harbor",
    "haven",
    "heron",
    "island",
    "isthmus",
    "jetty",
    "kestrel",
    "lagoon",
    "lantern",
    "lark",
    "ledger",
    "levee",
    "lighthouse",
    "maple",
    "marina",
    "meadow",
    "mesa",
    "milestone",
    "orbit",
    "otter",
    "passage",
    "path",
    "pier",
    "pilot",
    "plaza",
    "portage",
    "prism",
    "quay",
    "raven",
    "relay",
    "river",
    "sable",
    "sail",
    "signal",
    "sound",
    "span",
    "sparrow",
    "spruce",
    "strand",
    "summit",
    "swan",
    "terrace",
    "tern",
    "thicket",
    "trail",
    "trellis",
    "tunnel",
    "viaduct",
    "walnut",
    "wharf",
    "willow",
    "wren",
]


def check_name(name: str) -> str:
    """Raises InvalidArgument with Docker's words."""
    if not _VALID.fullmatch(name):
        raise InvalidArgument(f"Invalid container name ({name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed")
    return name


def invent_name(number: int, taken: Callable[[str], bool]) -> str:
    """A name that is not taken; `number` is a random one."""
    while True:
        number, left = divmod(number, len(_ADJECTIVES))
        name = f"{_ADJECTIVES[left]}_{_NOUNS[number % len(_NOUNS)]}"
        if not taken(name):
            return name
        suffix = f"{name}{number % 1000}"
        if not taken(suffix):
            return suffix
        number = number + 7919
