"""`policy check`: whether one container or host may talk to another, and by which rule."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from linkspan.cli.document import FORMAT_FLAGS, formatted
from linkspan.cli.failure import UsageError
from linkspan.cli.flags import Flag, Invocation, Verb

_DENIED = 3  # an exit status that no error has


def check(call: Invocation) -> int:
    source, to = call.arguments
    protocol = call.line.text("protocol").lower()
    destination, port = _parted(to, protocol)
    query = {"from": source, "to": destination, "protocol": protocol, **({"port": port} if port else {})}
    answer: dict[str, Any] = call.client.get("/policy/check", query)
    if (text := formatted(call.line, answer)) is not None:
        print(text, end="")
    else:
        print("\n".join(_lines(answer, named=_is_name(source) and _is_name(destination))))
    return 0 if answer["Allowed"] else _DENIED


def _parted(to: str, protocol: str) -> tuple[str, str]:
    """`db:3306`, `10.0.0.3:3306`, `[fd00::3]:3306`, `host:h1:22`; for icmp without a port, and without brackets."""
    if protocol == "icmp":
        return to.removeprefix("[").removesuffix("]"), ""
    name, colon, port = to.rpartition(":")
    if not colon or not port.isdecimal() or (":" in name and not name.startswith(("[", "host:"))):
        raise UsageError(f"{to}: a port is needed, such as db:3306 or [fd00::3]:3306")
    return name.removeprefix("[").removesuffix("]"), port


def _is_name(text: str) -> bool:
    return ":" not in text and not text.replace(".", "").isdigit()


def _lines(answer: Mapping[str, Any], *, named: bool) -> Iterator[str]:
    """Of two containers (`named`) on no network in common policies say the one thing, and networks perhaps another."""
    for path in answer["Paths"]:
        over = f" over {path['Network']}" if path["Network"] else ""
        if named and not over and answer["Allowed"]:
            over = " by policies; they have no network in common, and bridges keep theirs apart"
        seen = f" (seen as {path['SeenAs']})" if path["SeenAs"] != path["Source"] else ""
        yield f"{_word(path)}: {path['Source']}{seen} to {path['Destination']}{over}"
        for way in ("Egress", "Ingress"):
            found = path[way]
            tier = f" (tier {found['Tier']})" if found["Policy"] else ""
            at = f" at {found['At']}" if found["At"] else ""
            yield f"  {way.lower()}{at}: {_word(found)}: {found['Rule']}{tier}"
            yield from (f"    logged by {rule}" for rule in found["Logged"])
    yield from (f"Note: {note}" for note in answer["Notes"])


def _word(found: Mapping[str, Any]) -> str:
    return "allow" if found["Allowed"] else "deny"


CHECK = Verb(
    "[OPTIONS] CONTAINER|ADDRESS|host:NAME CONTAINER|ADDRESS|host:NAME[:PORT]",
    "Say whether one container or host may talk to another, and by which rule (only in linkspan).",
    check,
    (Flag("protocol", "p", "string", "tcp, udp, sctp or icmp", default="tcp"), *FORMAT_FLAGS),
    least=2,
    most=2,
    detail=(
        "It is about policies alone: networks that are kept apart are so whatever policies allow. It ends with 0\n"
        "where everything asked for is allowed, with 3 where not."
    ),
)
