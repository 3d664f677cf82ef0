"""Whether the kernel's log shows what rules log inside sandboxes: one switch for the whole machine, off by default."""

from __future__ import annotations

from pathlib import Path

SWITCH = "net.netfilter.nf_log_all_netns"
_FILE = Path("/proc/sys") / SWITCH.replace(".", "/")


def hidden(file: Path = _FILE) -> str:
    """Why it does not, and what to do about it; "" where it does. Only the machine's own namespace has the switch."""
    try:
        on = file.read_text().strip() != "0"
    except OSError:
        return (
            "linkspand is itself in a network namespace: the kernel's log shows nothing of it, and nothing of what "
            f"happens in containers, unless the machine has `sysctl {SWITCH}=1`"
        )
    return "" if on else f"the kernel's log shows nothing of what happens in containers before `sysctl {SWITCH}=1`"
