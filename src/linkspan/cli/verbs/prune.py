"""What the prune verbs share: their flags, and their question."""

from __future__ import annotations

import sys

from linkspan.cli import quantities
from linkspan.cli.flags import Flag, Invocation, switch

PRUNE_FLAGS = (
    Flag("filter", "", "filter", "Only what matches (until=24h, label=x)", check=quantities.filter_entry),
    switch("force", "f", "Do not ask"),
)


def confirmed(call: Invocation, warning: str) -> bool:
    """True with --force, or when the user says yes."""
    if call.line.on("force"):
        return True
    print(f"WARNING! {warning}\nAre you sure you want to continue? [y/N] ", end="", flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")
