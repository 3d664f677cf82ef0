"""What the processes of a test host hold, without those of its containers."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from demo.hosts import Host


@dataclass(frozen=True)
class Held:
    """Bytes by program. PSS counts a page that n processes share 1/n each, so that sums are true; RSS n times.

    `anonymous` is what of PSS is no file's: programs that run elsewhere on the machine have no share in it.
    """

    pss: dict[str, int]
    anonymous: int
    rss: dict[str, int]
    processes: dict[str, int]

    @property
    def total(self) -> int:
        return sum(self.pss.values())

    @property
    def total_rss(self) -> int:
        return sum(self.rss.values())

    @property
    def count(self) -> int:
        return sum(self.processes.values())


def held(host: Host) -> Held:
    """Of every process in the host's pid namespace but its first: containers have pid namespaces of their own."""
    space = Path(f"/proc/{host.pid}/ns/pid").readlink()
    pss: dict[str, int] = defaultdict(int)
    rss: dict[str, int] = defaultdict(int)
    processes: dict[str, int] = defaultdict(int)
    anonymous = 0
    for path in Path("/proc").iterdir():
        if not path.name.isdigit() or int(path.name) == host.pid:
            continue
        with contextlib.suppress(OSError):  # it has ended meanwhile
            if (path / "ns/pid").readlink() != space:
                continue
            fields = _fields((path / "smaps_rollup").read_text())
            name = (path / "comm").read_text().strip()
            pss[name] += fields["Pss"]
            rss[name] += fields["Rss"]
            anonymous += fields["Pss_Anon"]
            processes[name] += 1
    return Held(dict(pss), anonymous, dict(rss), dict(processes))


def _fields(text: str) -> dict[str, int]:
    """In bytes."""
    found = {}
    for line in text.splitlines()[1:]:
        name, _, rest = line.partition(":")
        found[name] = int(rest.split()[0]) * 1024
    return found
