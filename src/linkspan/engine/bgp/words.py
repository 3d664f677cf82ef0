"""What BIRD says of its sessions, and of what it did not take."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable
from datetime import UTC, datetime

SESSIONS = "show protocols"
SESSIONS_AND_ROUTES = "show protocols all"  # with how many they have
_SAME = 0.1  # seconds
_FIRST = re.compile(r"(\S+)\s+BGP\s+\S+\s+(\S+)\s+(\S+)(?:\s+(\S+))?(?:\s+(.*))?$")
_ROUTES = re.compile(r"(\d+) (imported|filtered|exported)")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """`since` is in the host's time, as ISO 8601 has it. Of a session that is down, the numbers are of what is kept of
    it."""

    name: str
    state: str  # Established, Active, Connect, Idle…; Down
    since: str
    trouble: str = ""
    imported: int = 0
    filtered: int = 0
    exported: int = 0

    @property
    def up(self) -> bool:
        return self.state == "Established"

    @property
    def since_utc(self) -> str:
        """As RFC 3339 has it, "" where BIRD says none. Raises ValueError."""
        when = datetime.fromisoformat(self.since).astimezone(UTC) if self.since else None
        return when.isoformat().replace("+00:00", "Z") if when else ""

    def is_another_than(self, before: Session) -> bool:
        """Whether it has gone and come again. BIRD's times of the same moment differ by a thousandth of a second."""
        times = [datetime.fromisoformat(session.since).timestamp() for session in (before, self)]
        return abs(times[1] - times[0]) > _SAME


def parse_sessions(lines: Iterable[str]) -> tuple[Session, ...]:
    found: list[Session] = []
    for line in lines:
        if match := _FIRST.match(line):
            name, state, since, word, rest = match.groups()
            found.append(
                Session(name=name, state=word or state.capitalize(), since=since, trouble=(rest or "").strip())
            )
        elif not line.startswith(" "):
            if line.strip():
                found.append(Session(name="", state="", since=""))  # another protocol: what follows is of no session
        elif found and found[-1].name:
            found[-1] = _with(found[-1], line.strip())
    return tuple(session for session in found if session.name)


def _with(session: Session, line: str) -> Session:
    word, colon, value = line.partition(":")
    value = value.strip()
    match word if colon else "":
        case "BGP state":
            return dataclasses.replace(session, state=value)
        case "Last error":
            return dataclasses.replace(session, trouble=value)
        case "Routes":
            numbers = {what: int(number) for number, what in _ROUTES.findall(value)}
            imported, filtered, exported = (numbers.get(what, 0) for what in ("imported", "filtered", "exported"))
            return dataclasses.replace(session, imported=imported, filtered=filtered, exported=exported)
    return session


def refused(version: int) -> str:
    """The question which prefixes of ours others have announced."""
    return f"show route filtered table master{version} where ours{version}()"


def parse_refused(lines: Iterable[str]) -> tuple[tuple[str, str], ...]:
    """Each prefix, and the name of the session that it came by."""
    found: dict[tuple[str, str], None] = {}
    prefix = ""
    for line in lines:
        match = re.match(r"(\S+)?\s+\S.*\[(\S+) ", line)
        if match:
            prefix = match[1] or prefix  # not said again for another way to it
            found[prefix, match[2]] = None
    return tuple(found)
