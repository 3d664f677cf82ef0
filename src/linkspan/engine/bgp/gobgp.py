"""A plan as a configuration of GoBGP, which an administrator runs (`--bgp=external`).

GoBGP by itself puts no routes into the kernel: it announces, and its router on top of the rack knows the way to the
others. What it announces no configuration of it can say: that is a file of its own, a prefix a line.
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence

from linkspan.engine.bgp.neighbours import Neighbour
from linkspan.engine.bgp.plan import Plan
from linkspan.model.bgp import FilterRule

_LENGTHS = {4: 32, 6: 128}


def gobgp_conf(plan: Plan) -> str:
    return "\n".join(_lines(plan)) + "\n"


def gobgp_prefixes(plan: Plan) -> str:
    return "".join(f"{prefix}\n" for prefix in (*plan.announced.blocks, *plan.announced.lone))


def _lines(plan: Plan) -> Iterator[str]:
    yield "# Written by linkspand, and written anew with every change: gobgpd reads it again on SIGHUP."
    yield from _table("global.config", {"as": plan.as_number, "router-id": plan.router_id, "port": plan.port})
    for n in plan.neighbours:
        yield from _session(plan, n)
    for name, entries in _sets(plan):
        yield "[[defined-sets.prefix-sets]]"
        yield f"prefix-set-name = {json.dumps(name)}"
        for prefix, low, high in entries:
            yield "[[defined-sets.prefix-sets.prefix-list]]"
            yield f'ip-prefix = "{prefix}"'
            yield f'masklength-range = "{low}..{high}"'
    for n in plan.neighbours:
        yield "[[defined-sets.neighbor-sets]]"
        yield f'neighbor-set-name = "{n.name}"'
        yield f'neighbor-info-list = ["{n.address}"]'
    incoming = [statement for n in plan.neighbours for statement in _imports(n)]
    outgoing = [statement for n in plan.neighbours for statement in _exports(plan, n)]
    for name, statements in (("taken", incoming), ("announced", outgoing)):
        yield "[[policy-definitions]]"
        yield f'name = "{name}"'
        for statement in statements:
            yield from statement
    yield "[global.apply-policy.config]"
    yield 'import-policy-list = ["taken"]'
    yield 'default-import-policy = "accept-route"'  # what this host has itself
    yield 'export-policy-list = ["announced"]'
    yield 'default-export-policy = "reject-route"'


def _session(plan: Plan, n: Neighbour) -> Iterator[str]:
    yield "[[neighbors]]"
    yield from _table(
        "neighbors.config",
        {
            "neighbor-address": n.address,
            "peer-as": n.as_number,
            "local-as": plan.as_number,
            "description": n.said,
            "auth-password": n.password,
        },
    )
    yield from _table("neighbors.transport.config", {"remote-port": n.port, "local-address": n.local})
    yield from _table("neighbors.timers.config", {"connect-retry": 5, "hold-time": 90, "keepalive-interval": 30})
    if n.ttl_security:
        yield from _table("neighbors.ttl-security.config", {"enabled": True, "ttl-min": 256 - n.ttl_security})
    elif n.as_number != plan.as_number:
        yield from _table("neighbors.ebgp-multihop.config", {"enabled": True, "multihop-ttl": 255})
    yield from _table("neighbors.graceful-restart.config", {"enabled": True, "restart-time": n.restart_time})
    if n.client:
        reflected: dict[str, str | int | bool] = {"route-reflector-client": True}
        reflected["route-reflector-cluster-id"] = plan.cluster_id
        yield from _table("neighbors.route-reflector.config", reflected)
    if n.own_as:
        yield from _table("neighbors.as-path-options.config", {"allow-own-as": n.own_as})
    yield "[[neighbors.afi-safis]]"
    yield from _table("neighbors.afi-safis.config", {"afi-safi-name": f"ipv{n.version}-unicast"})
    yield from _table("neighbors.afi-safis.mp-graceful-restart.config", {"enabled": True})
    yield from _table("neighbors.afi-safis.add-paths.config", {"receive": True, "send-max": 8})


_Entry = tuple[str, int, int]


def _sets(plan: Plan) -> Iterator[tuple[str, list[_Entry]]]:
    """GoBGP takes a set that is empty for everything: those get what no route can be."""
    for version in plan.versions:
        longest, own = _LENGTHS[version], plan.announced.of(version)
        pools = [pool for pool in plan.pools if pool.version == version]
        never = (f"{'::' if version == 6 else '0.0.0.0'}/{longest}", longest, longest)
        announced = [(p, _length(p), _length(p)) for p in (*own.blocks, *own.lone)]
        exported = [pool.subnet for pool in pools if pool.exported]
        for name, entries in (
            ("elsewhere", [(p, longest, longest) for p in own.elsewhere]),
            (
                "ours",
                [*_ours(own.blocks, [p.subnet for p in pools], longest), *[(p, longest, longest) for p in own.lone]],
            ),
            ("pool", [(p.subnet, _length(p.subnet), longest) for p in pools]),
            ("exported", [(p, _length(p), longest) for p in exported]),
            ("own", announced),
            ("own-exported", [entry for entry in announced if _inside(entry[0], exported)]),
        ):
            yield f"{name}{version}", entries or [never]
        yield f"default{version}", [("::/0" if version == 6 else "0.0.0.0/0", 0, 0)]
        for index, (subnet, _) in enumerate(plan.communities):
            if (":" in subnet) == (version == 6):
                yield f"community{index}", [e for e in announced if _inside(e[0], [subnet])] or [never]
    for n in plan.neighbours:
        for index, rule in enumerate((*n.imports, *n.exports)):
            if rule.cidr:
                yield f"{n.name}-{index}", [_rule_entry(rule, n.version)]


def _ours(blocks: Iterable[str], pools: Sequence[str], longest: int) -> Iterator[_Entry]:
    """The blocks, and what hides them: the parts of a pool that one is in."""
    for block in blocks:
        inner = ipaddress.ip_network(block)
        yield block, inner.prefixlen, longest
        outer = next((p for p in map(ipaddress.ip_network, pools) if inner.subnet_of(p)), inner)  # type: ignore[arg-type]
        for length in range(outer.prefixlen, inner.prefixlen):
            yield str(ipaddress.ip_network(f"{inner[0]}/{length}", strict=False)), length, length


def _imports(n: Neighbour) -> Iterator[list[str]]:
    here = [("neighbor", n.name, "any")]
    # Within our blocks, and yet on another host, by what the records say.
    yield _statement(f"{n.name}-elsewhere", [*here, ("prefix", f"elsewhere{n.version}", "any")], "accept-route")
    yield _statement(f"{n.name}-ours", [*here, ("prefix", f"ours{n.version}", "any")], "reject-route")
    if n.kind == "host":
        yield _statement(f"{n.name}-pool", [*here, ("prefix", f"pool{n.version}", "invert")], "reject-route")
    yield from _rules(n, n.imports, 0)
    yield _statement(f"{n.name}-default", [*here, ("prefix", f"default{n.version}", "any")], "reject-route")


def _exports(plan: Plan, n: Neighbour) -> Iterator[list[str]]:
    here = [("neighbor", n.name, "any")]
    known = ("pool" if n.kind == "host" else "exported") if plan.cluster_id else ""
    known = known or ("own" if n.kind == "host" else "own-exported")
    yield _statement(f"{n.name}-not-{known}", [*here, ("prefix", f"{known}{n.version}", "invert")], "reject-route")
    for index, (subnet, communities) in enumerate(plan.communities):
        if (":" in subnet) == (n.version == 6):
            matched = [*here, ("prefix", f"community{index}", "any")]
            yield _statement(f"{n.name}-community{index}", matched, "", communities)
    yield from _rules(n, n.exports, len(n.imports))
    yield _statement(f"{n.name}-rest", here, "accept-route")


def _rules(n: Neighbour, rules: Iterable[FilterRule], first: int) -> Iterator[list[str]]:
    for index, rule in enumerate(rules, first):
        matched = [("neighbor", n.name, "any")]
        if rule.cidr:
            how = "invert" if rule.match_operator in ("NotIn", "NotEqual") else "any"
            matched.append(("prefix", f"{n.name}-{index}", how))
        action = "accept-route" if rule.action == "Accept" else "reject-route"
        yield _statement(f"{n.name}-rule{index}", matched, action)


def _statement(
    name: str, matched: Iterable[tuple[str, str, str]], action: str, communities: Iterable[tuple[int, ...]] = ()
) -> list[str]:
    lines = ["[[policy-definitions.statements]]", f'name = "{name}"']
    for kind, set_, how in matched:
        lines.append(f"[policy-definitions.statements.conditions.match-{kind}-set]")
        lines += [f'{kind}-set = "{set_}"', f'match-set-options = "{how}"']
    for size, word in ((2, "community"), (3, "large-community")):
        if found := [":".join(map(str, c)) for c in communities if len(c) == size]:
            lines.append(f"[policy-definitions.statements.actions.bgp-actions.set-{word}]")
            lines.append(f'options = "{"add" if size == 2 else "ADD"}"')
            lines.append(f"[policy-definitions.statements.actions.bgp-actions.set-{word}.set-{word}-method]")
            lines.append(f"communities-list = {json.dumps(found)}")
    if action:
        lines += ["[policy-definitions.statements.actions]", f'route-disposition = "{action}"']
    return lines


def _rule_entry(rule: FilterRule, version: int) -> _Entry:
    length = _length(rule.cidr)
    if rule.match_operator in ("Equal", "NotEqual"):
        return rule.cidr, length, length
    lengths = rule.prefix_length
    return rule.cidr, (lengths and lengths.min) or length, (lengths and lengths.max) or _LENGTHS[version]


def _inside(prefix: str, subnets: Iterable[str]) -> bool:
    inner = ipaddress.ip_network(prefix)
    return any(inner.subnet_of(outer) for outer in map(ipaddress.ip_network, subnets))  # type: ignore[arg-type]


def _length(prefix: str) -> int:
    return int(prefix.partition("/")[2])


def _table(name: str, values: Mapping[str, str | int | bool]) -> Iterator[str]:
    """Without what is not said."""
    yield f"[{name}]"
    yield from (f"{key} = {json.dumps(value)}" for key, value in values.items() if value != "")
