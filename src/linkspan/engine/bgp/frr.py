"""A plan as a configuration of FRR, which an administrator runs (`--bgp=external`): zebra and bgpd.

It says the same as BIRD's, in FRR's terms. bgpd listens where it is told to at its start: its port is not in here.
"""

from __future__ import annotations

import ipaddress
import itertools
from collections.abc import Iterable, Iterator

from linkspan.engine.bgp.neighbours import Neighbour
from linkspan.engine.bgp.plan import Plan
from linkspan.model.bgp import FilterRule

_WAYS = 16  # of equal cost


def frr_conf(plan: Plan) -> str:
    return "\n".join(_lines(plan)) + "\n"


def _lines(plan: Plan) -> Iterator[str]:
    yield "! Written by linkspand, and written anew with every change: load it with vtysh -f, or frr-reload.py --reload"
    yield "frr defaults traditional"
    for version in plan.versions:
        yield from _prefix_lists(plan, version)
    for neighbour in plan.neighbours:
        yield from _route_maps(plan, neighbour)
    yield f"router bgp {plan.as_number}"
    yield f" bgp router-id {plan.router_id}"
    yield " no bgp default ipv4-unicast"
    yield " no bgp ebgp-requires-policy"
    yield " no bgp network import-check"
    yield " bgp graceful-restart"
    if plan.cluster_id:
        yield f" bgp cluster-id {plan.cluster_id}"
    for n in plan.neighbours:
        yield f" neighbor {n.address} remote-as {n.as_number}"
        yield f" neighbor {n.address} description {n.said}"
        if n.local:
            yield f" neighbor {n.address} update-source {n.local}"
        if n.port != 179:
            yield f" neighbor {n.address} port {n.port}"
        if n.password:
            yield f" neighbor {n.address} password {n.password}"
        if n.ttl_security:
            yield f" neighbor {n.address} ttl-security hops {n.ttl_security}"
        elif n.as_number != plan.as_number:
            yield f" neighbor {n.address} ebgp-multihop"
        yield f" neighbor {n.address} timers connect 5"
    for version in plan.versions:
        yield f" address-family ipv{version} unicast"
        own = plan.announced.of(version)
        for prefix in (*own.blocks, *own.lone):
            yield f"  network {prefix}"
        yield f"  maximum-paths {_WAYS}"
        yield f"  maximum-paths ibgp {_WAYS}"
        for n in plan.neighbours:
            if n.version == version:
                yield from (f"  neighbor {n.address} {words}" for words in _session(n))
        yield " exit-address-family"
    yield "exit"


def _session(n: Neighbour) -> Iterator[str]:
    yield "activate"
    yield "addpath-tx-all-paths"
    if n.client:
        yield "route-reflector-client"
    if n.keep_next_hop:
        yield "attribute-unchanged next-hop"
    if n.own_as:
        yield f"allowas-in {n.own_as}"
    yield f"route-map {n.name}-in in"
    yield f"route-map {n.name}-out out"


def _prefix_lists(plan: Plan, version: int) -> Iterator[str]:
    own = plan.announced.of(version)
    pools = [ipaddress.ip_network(pool.subnet) for pool in plan.pools if pool.version == version]
    longest = 128 if version == 6 else 32
    blocks = [ipaddress.ip_network(block) for block in own.blocks]
    # Ours, and what hides it: the parts of a pool that one of our blocks is in.
    hiding = {
        str(ipaddress.ip_network(f"{block[0]}/{length}", strict=False))
        for block in blocks
        for length in range(_pool_of(block, pools).prefixlen, block.prefixlen)
    }
    ours = [f"deny {prefix}" for prefix in own.elsewhere]
    ours += [f"permit {block} le {longest}" for block in blocks]
    ours += [f"permit {prefix}" for prefix in (*own.lone, *sorted(hiding))]
    yield from _list(version, "ours", ours)
    exported = [pool.subnet for pool in plan.pools if pool.version == version and pool.exported]
    announced = (*own.blocks, *own.lone)
    for name, known in (
        ("pool", [f"{pool} le {longest}" for pool in pools]),
        ("exported", [f"{pool} le {longest}" for pool in exported]),
        ("own", list(announced)),
        ("own-exported", _within(announced, exported)),
    ):
        yield from _list(version, f"not-{name}", (*(f"deny {entry}" for entry in known), "permit any"))
    yield from _list(version, "default", [f"permit {'::/0' if version == 6 else '0.0.0.0/0'}"])
    for index, (subnet, _) in enumerate(plan.communities):
        if (":" in subnet) == (version == 6):
            yield from _list(version, f"community{index}-", (f"permit {p}" for p in _within(announced, [subnet])))


def _list(version: int, name: str, entries: Iterable[str]) -> Iterator[str]:
    """One that has no entry would take everything."""
    word = "ip" if version == 4 else "ipv6"
    for entry in list(entries) or ["deny any"]:
        yield f"{word} prefix-list {name}{version} {entry}"


def _within(prefixes: Iterable[str], subnets: Iterable[str]) -> list[str]:
    outer = [ipaddress.ip_network(subnet) for subnet in subnets]
    return [p for p in prefixes if any(ipaddress.ip_network(p).subnet_of(o) for o in outer)]  # type: ignore[arg-type]


def _route_maps(plan: Plan, n: Neighbour) -> Iterator[str]:
    version, numbers = n.version, itertools.count(10, 10)
    match = f"match {'ip' if version == 4 else 'ipv6'} address prefix-list"
    for index, rule in enumerate((*n.imports, *n.exports)):
        yield from _rule_list(n, index, rule)

    def step(way: str, action: str, list_: str, *more: str) -> Iterator[str]:
        yield f"route-map {n.name}-{way} {action} {next(numbers)}"
        if list_:
            yield f" {match} {list_}"
        yield from (f" {line}" for line in more)
        yield "exit"

    yield from step("in", "deny", f"ours{version}")
    if n.kind == "host":
        yield from step("in", "deny", f"not-pool{version}")
    for action, list_ in _steps(n, n.imports, 0):
        yield from step("in", action, list_)
    yield from step("in", "deny", f"default{version}")
    yield from step("in", "permit", "")
    known = ("pool" if n.kind == "host" else "exported") if plan.cluster_id else ""
    known = known or ("own" if n.kind == "host" else "own-exported")
    yield from step("out", "deny", f"not-{known}{version}")
    for index, (subnet, communities) in enumerate(plan.communities):
        if (":" in subnet) == (version == 6):
            yield from step("out", "permit", f"community{index}-{version}", *_set(communities), "on-match next")
    for action, list_ in _steps(n, n.exports, len(n.imports)):
        yield from step("out", action, list_)
    yield from step("out", "permit", "")


def _set(communities: tuple[tuple[int, ...], ...]) -> Iterator[str]:
    for size, word in ((2, "community"), (3, "large-community")):
        if found := [":".join(map(str, c)) for c in communities if len(c) == size]:
            yield f"set {word} {' '.join(found)} additive"


def _steps(n: Neighbour, rules: tuple[FilterRule, ...], first: int) -> Iterator[tuple[str, str]]:
    for index, rule in enumerate(rules, first):
        yield ("permit" if rule.action == "Accept" else "deny"), f"{n.name}-{index}" if rule.cidr else ""


def _rule_list(n: Neighbour, index: int, rule: FilterRule) -> Iterator[str]:
    if not rule.cidr:
        return
    network = ipaddress.ip_network(rule.cidr)
    word, name = "ip" if n.version == 4 else "ipv6", f"{n.name}-{index}"
    lengths = ""
    if rule.match_operator in ("In", "NotIn"):
        low = (rule.prefix_length and rule.prefix_length.min) or network.prefixlen
        high = (rule.prefix_length and rule.prefix_length.max) or network.max_prefixlen
        lengths = (f" ge {low}" if low > network.prefixlen else "") + (
            f" le {high}" if high > network.prefixlen else ""
        )
    negative = rule.match_operator in ("NotIn", "NotEqual")
    yield f"{word} prefix-list {name} {'deny' if negative else 'permit'} {network}{lengths}"
    if negative:
        yield f"{word} prefix-list {name} permit any"


def _pool_of(
    block: ipaddress.IPv4Network | ipaddress.IPv6Network,
    pools: Iterable[ipaddress.IPv4Network | ipaddress.IPv6Network],
) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    return next((pool for pool in pools if block.subnet_of(pool)), block)  # type: ignore[arg-type]
