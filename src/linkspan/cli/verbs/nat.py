"""`nat`: how the engine translates addresses and ports, in the columns of `iptables -t nat -nL`."""

from __future__ import annotations

from typing import Any

from linkspan.cli.document import FORMAT_FLAGS, formatted
from linkspan.cli.flags import Invocation, Verb, switch

WIDTHS = (10, 4, 3, 20, 20, 0)
CHAINS = ("PREROUTING", "OUTPUT", "POSTROUTING", "DOCKER")
TITLES = {
    "PREROUTING": "Chain PREROUTING (policy ACCEPT)",
    "INPUT": "Chain INPUT (policy ACCEPT)",
    "OUTPUT": "Chain OUTPUT (policy ACCEPT)",
    "POSTROUTING": "Chain POSTROUTING (policy ACCEPT)",
}


def run(call: Invocation) -> int:
    if call.line.on("nft"):
        ruleset = call.client.request("GET", "/linkspan/nat/nft").read().decode()
        print(ruleset, end="" if ruleset.endswith("\n") else "\n")
        return 0
    rows: list[dict[str, Any]] = call.client.get("/linkspan/nat") or []
    if (text := formatted(call.line, rows)) is not None:
        print(text, end="")
        return 0
    chains = [*CHAINS, *dict.fromkeys(row["chain"] for row in rows if row["chain"] not in CHAINS)]
    print("\n".join(_chain(chain, rows) for chain in chains), end="")
    return 0


def _chain(chain: str, rows: list[dict[str, Any]]) -> str:
    references = sum(row.get("target") == chain for row in rows)
    title = TITLES.get(chain) or f"Chain {chain} ({references} references)"
    lines = [title, "target     prot opt source               destination"]
    for row in (row for row in rows if row["chain"] == chain):
        cells = zip(("target", "prot", "opt", "source", "destination", "extra"), WIDTHS, strict=True)
        line = " ".join(f"{row.get(key) or '':<{width}}" for key, width in cells).rstrip()
        whose = ", ".join(str(row[key]) for key in ("container", "network") if row.get(key))
        lines.append(f"{line}  /* {whose} */" if whose else line)
    return "\n".join(lines) + "\n"


VERB = Verb(
    "[OPTIONS]",
    "Show how published ports and outgoing addresses are translated, and whose each rule is (only in linkspan).",
    run,
    (*FORMAT_FLAGS, switch("nft", "", "Show the real nftables ruleset instead")),
    most=0,
)
