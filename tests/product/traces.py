"""What is there on the host: the same before a test and after it, once what the test made is removed."""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from tests.product.engine import Engine


def traces(place: Engine) -> dict[str, object]:
    """By kind. Nothing in it changes by itself while nothing is asked of the daemon."""
    return {
        "links": sorted(link["ifname"] for link in place.ip("link")),
        "routes": sorted(json.dumps({**route, "flags": []}) for route in place.ip("route")),  # linkdown comes and goes
        "namespaces": _names(place.exec_root / "netns"),
        "runtime folders": [_names(place.exec_root / name) for name in ("containers", "exits", "runc")],
        "container folders": _names(place.data_root / "containers"),
        "volume folders": _names(place.data_root / "volumes"),
        "mounts": _mounts(place),
        "nft": _tables(place),
        "ports": _listening(place),
        "processes": _processes(place),
        "daemon's files": _open_files(place),
        "cgroups": place.control_groups(),
        "containers": sorted(place.out("ps", "-aq", "--no-trunc").split()),
        "volumes": sorted(place.out("volume", "ls", "-q").split()),
        "networks": sorted(place.out("network", "ls", "-q", "--no-trunc").split()),
        "resources": place.resources(),
        "images": sorted(place.out("images", "-aq", "--no-trunc").split()),
    }


def settles(place: Engine, before: dict[str, object], within: float = 5) -> None:
    """Asserts that what is there becomes the same as before; what is being let go needs a moment."""
    becomes(before, lambda: traces(place), within)


def becomes(before: dict[str, object], look: Callable[[], dict[str, object]], within: float) -> None:
    """Asserts that a look finds the same as before within so many seconds."""
    deadline = time.monotonic() + within
    while True:
        after = look()
        different = {kind: (before[kind], after[kind]) for kind in before if before[kind] != after[kind]}
        if not different:
            return
        if time.monotonic() > deadline:
            raise AssertionError("left behind (before, after): " + json.dumps(different, indent=1, default=str))
        time.sleep(0.1)


def _tables(place: Engine) -> list[str]:
    """In any order: a table that was flushed, and made again, comes last."""
    listed = re.sub(r"counter packets \d+ bytes \d+", "", place.host.run(["nft", "list", "ruleset"]).stdout)
    return sorted(re.split(r"^(?=table )", listed, flags=re.M))


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


def _mounts(place: Engine) -> list[str]:
    lines = Path(f"/proc/{place.host.pid}/mountinfo").read_text().splitlines()
    points = (line.split()[4] for line in lines)
    # Ours are at <exec-root>/netns. These are `ip netns`'s, and go from every copy when somebody removes the file.
    return sorted(point for point in points if not point.startswith("/run/netns/"))


def _listening(place: Engine) -> list[str]:
    """Ports with a TCP listener or a UDP socket. Ports that are only bound show as the daemon's open files."""
    found = []
    for protocol in ("tcp", "udp"):
        for line in Path(f"/proc/{place.host.pid}/net/{protocol}").read_text().splitlines()[1:]:
            fields = line.split()
            if protocol == "udp" or fields[3] == "0A":
                found.append(f"{protocol} {fields[1]}")
    return sorted(found)


def _processes(place: Engine) -> dict[str, int]:
    """Names of the host's processes, with how many there are."""
    namespace = Path(f"/proc/{place.host.pid}/ns/pid").readlink()
    names: Counter[str] = Counter()
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                if (folder / "ns/pid").readlink() == namespace:
                    names[(folder / "comm").read_text().strip()] += 1
            except OSError:  # it ended meanwhile
                continue
    return dict(names)


def _open_files(place: Engine) -> dict[str, int]:
    """How many files of which kind the daemon holds open, without the connections of clients."""
    kinds: Counter[str] = Counter()
    clients = _clients(place)
    for link in Path(f"/proc/{place.pid}/fd").iterdir():
        try:
            target = str(link.readlink())
        except OSError:
            continue
        if target not in clients:
            kinds[re.sub(r":\[\d+\]", "", target)] += 1
    return dict(kinds)


def _clients(place: Engine) -> set[str]:
    """Sockets of the daemon's accepted connections: docker-py keeps some of them open."""
    # The kernel lists an accepted connection in the client's network namespace.
    lists = ("/proc/self/net/unix", f"/proc/{place.host.pid}/net/unix")
    lines = [line for path in lists for line in Path(path).read_text().splitlines()[1:]]
    return {
        f"socket:[{line.split()[6]}]"
        for line in lines
        if line.endswith(str(place.socket)) and line.split()[5] == "03"  # SS_CONNECTED
    }
