"""The text of our .nft files, taken apart: each set, map and chain, and the rules of each chain, as commands.

The files are written for readers, one object or rule to a line, within one table.
"""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True, slots=True)
class Ruleset:
    """Commands of libnftables, by the name of what they make."""

    sets: dict[str, str]  # maps too
    chains: dict[str, str]
    rules: dict[str, tuple[str, ...]]  # by chain

    def commands(self) -> str:
        """The whole of it. No `table` block: that implies a message about the table itself, without the flags it has,
        which the kernel takes for an attempt to change them."""
        rules = (rule for chain in self.rules.values() for rule in chain)
        return "\n".join([*self.sets.values(), *self.chains.values(), *rules, ""])


def parse(text: str, table: str) -> Ruleset:
    sets: dict[str, str] = {}
    chains: dict[str, str] = {}
    rules: dict[str, list[str]] = {}
    chain = ""
    for line in map(str.strip, text.splitlines()):
        kind, _, rest = line.partition(" ")
        if kind in ("set", "map"):
            sets[rest.partition(" ")[0]] = f"add {kind} inet {table} {rest}"
        elif kind == "chain":
            chain = rest.removesuffix(" {")
            chains[chain] = f"add chain inet {table} {chain}"
        elif kind == "type":
            chains[chain] += f" {{ {line} }}"
        elif line and kind not in ("#", "}", "table"):
            rules.setdefault(chain, []).append(f"add rule inet {table} {chain} {line}")
    return Ruleset(sets, chains, {name: tuple(found) for name, found in rules.items()})
