"""A plan as a configuration of BIRD 2.

What BIRD has in the kernel is known by its protocol number and METRIC, and is BIRD's alone; ours it does not even read.
A prefix that we announce is a blackhole in BIRD and never gets into the kernel from there: the driver has put its own.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator

from linkspan.engine.bgp.neighbours import Neighbour
from linkspan.engine.bgp.plan import Plan
from linkspan.model.bgp import FilterRule

# Of the routes that BIRD makes. Whoever runs a BIRD for other purposes has its routes at 32, unless they say otherwise.
METRIC = 76
OURS = 76  # the protocol number of our own routes
FIRST_WAIT = 1  # seconds that a BIRD which takes over nothing waits for its peers before it makes routes
# The same for one which has taken over routes, and keeps them meanwhile: two attempts at each peer. It makes no new
# ones before, so somebody who is away must not hold it up for long.
WAIT = 10
_LEVELS = {
    "Trace": "all",
    "Debug": "all",
    "Info": "{ info, remote, warning, error, auth, fatal, bug }",
    "Warning": "{ warning, error, auth, fatal, bug }",
    "Error": "{ error, fatal, bug }",
    "Fatal": "{ fatal, bug }",
}


def bird_conf(plan: Plan, *, wait: int = WAIT) -> str:
    return "\n".join(_lines(plan, wait)) + "\n"


def _lines(plan: Plan, wait: int) -> Iterator[str]:
    yield "# Written by linkspand for its own BIRD, and written anew with every change: what is changed here is lost."
    yield f"log stderr {_LEVELS[plan.log_severity]};"
    if plan.log_severity in ("Debug", "Trace"):
        yield "debug protocols { states, routes, filters, interfaces, events };"
    yield 'timeformat protocol "%Y-%m-%dT%H:%M:%S.%3f";'
    yield f"router id {plan.router_id};"
    yield f"graceful restart wait {wait};"
    yield "protocol device { scan time 5; }"
    yield "protocol direct direct1 {"
    yield "  ipv4 { import where net !~ [ 169.254.0.0/16+ ]; };"  # every container's veth pair has one
    yield "  ipv6;"
    yield "}"
    for version in plan.versions:
        yield from _kernel(plan, version)
    for name, lines in _filters(plan).items():
        yield f"filter {name} {{"
        yield from (f"  {line}" for line in lines)
        yield "}"
    for neighbour in plan.neighbours:
        yield from _session(plan, neighbour)


def _kernel(plan: Plan, version: int) -> Iterator[str]:
    own = plan.announced.of(version)
    pools = [pool for pool in plan.pools if pool.version == version]
    # What is ours, and what hides it: parts of a pool that one of our blocks is in. Not what a pool is itself in.
    hiding = (f"{b}{{{_pool_length(b, (p.subnet for p in pools))},{b.partition('/')[2]}}}" for b in own.blocks)
    yield from _function(f"elsewhere{version}", own.elsewhere)
    yield from _function(f"owned{version}", (*own.lone, *(f"{block}+" for block in own.blocks), *hiding))
    yield from _function(f"pool{version}", (f"{p.subnet}+" for p in pools))
    yield from _function(f"exported{version}", (f"{p.subnet}+" for p in pools if p.exported))
    yield from _function(f"tunnelled{version}", (f"{p.subnet}+" for p in pools if not p.routed))
    yield f"function ours{version}() {{ return owned{version}() && !elsewhere{version}(); }}"
    yield f"protocol static own{version} {{"
    yield f"  ipv{version};"
    yield from (f"  route {prefix} blackhole;" for prefix in (*own.blocks, *own.lone))
    yield "}"
    yield f"protocol kernel kernel{version} {{"
    yield "  learn; persist; scan time 2; merge paths on; graceful restart;"
    yield f"  metric {METRIC};"
    yield f"  ipv{version} {{"
    yield f"    import filter {{ if krt_source = {OURS} then reject; accept; }};"
    # The kernel would choose an address of whichever interface it sees first.
    source = next((f"krt_prefsrc = {s}; " for s in plan.sources if (":" in s) == (version == 6)), "")
    yield f"    export filter {{ if source != RTS_BGP || tunnelled{version}() then reject; {source}accept; }};"
    yield "  };"
    yield "}"


def _session(plan: Plan, n: Neighbour) -> Iterator[str]:
    own_port = f" port {plan.port}"
    yield f"protocol bgp {n.name} {{"
    yield f"  local{' ' + n.local if n.local else ''}{own_port} as {plan.as_number};"
    yield f"  neighbor {n.address} port {n.port} as {n.as_number};"
    if n.ttl_security:
        yield f"  multihop {n.ttl_security}; ttl security on;"
    else:
        yield "  multihop;"
    if n.password:
        yield f'  password "{n.password}";'
    if n.client:
        yield f"  rr client; rr cluster id {plan.cluster_id};"
    if n.own_as:
        yield f"  allow local as {n.own_as};"
    yield "  connect delay time 1; connect retry time 5; error wait time 1, 30; hold time 90;"
    yield f"  graceful restart on; graceful restart time {n.restart_time};"
    yield f"  ipv{n.version} {{"
    yield "    gateway recursive; add paths on; import keep filtered on;"
    if n.keep_next_hop:
        yield "    next hop keep;"
    yield f"    import filter {_filter(n, 'in')}; export filter {_filter(n, 'out')};"
    yield "  };"
    yield "}"


def _filters(plan: Plan) -> dict[str, list[str]]:
    """By name: one for all who are told the same."""
    found: dict[str, list[str]] = {}
    for n in plan.neighbours:
        found.setdefault(_filter(n, "in"), list(_import(n)))
        found.setdefault(_filter(n, "out"), list(_export(plan, n)))
    return found


def _filter(n: Neighbour, way: str) -> str:
    own = n.imports if way == "in" else n.exports
    return f"{n.name}_{way}" if own else f"{n.kind}s{n.version}_{way}"


def _import(n: Neighbour) -> Iterator[str]:
    yield f"if ours{n.version}() then reject;"
    if n.kind == "host":
        yield f"if !pool{n.version}() then reject;"
    yield from _rules(n.imports)
    yield "if net.len = 0 then reject;"  # the host has a way out of its own
    yield "accept;"


def _export(plan: Plan, n: Neighbour) -> Iterator[str]:
    """Our own, and as a route reflector what else there is of the pools."""
    version = n.version
    known = f"pool{version}" if n.kind == "host" else f"exported{version}"
    passed = " && source != RTS_BGP" if plan.cluster_id else ""
    yield f'if proto != "own{version}"{passed} then reject;'
    yield f"if !{known}() then reject;"
    for subnet, communities in plan.communities:
        if (":" in subnet) == (version == 6):
            # What others announce carries theirs.
            yield f'if proto = "own{version}" && net ~ [ {subnet}+ ] then {{ {" ".join(map(_add, communities))} }}'
    yield from _rules(n.exports)
    yield "accept;"


def _rules(rules: Iterable[FilterRule]) -> Iterator[str]:
    for rule in rules:
        action = "accept" if rule.action == "Accept" else "reject"
        if not rule.cidr:
            yield f"{action};"
            continue
        network = ipaddress.ip_network(rule.cidr)
        lengths = ""
        if rule.match_operator in ("In", "NotIn"):
            low = (rule.prefix_length and rule.prefix_length.min) or network.prefixlen
            high = (rule.prefix_length and rule.prefix_length.max) or network.max_prefixlen
            lengths = f"{{{low},{high}}}"
        sign = "!~" if rule.match_operator in ("NotIn", "NotEqual") else "~"
        yield f"if net {sign} [ {network}{lengths} ] then {action};"


def _add(community: tuple[int, ...]) -> str:
    kind = "bgp_community" if len(community) == 2 else "bgp_large_community"
    return f"{kind}.add(({','.join(map(str, community))}));"


def _function(name: str, prefixes: Iterable[str]) -> Iterator[str]:
    listed = ", ".join(prefixes)
    yield f"function {name}() {{ return {f'net ~ [ {listed} ]' if listed else 'false'}; }}"


def _pool_length(block: str, pools: Iterable[str]) -> int:
    inner = ipaddress.ip_network(block)
    return next(
        (outer.prefixlen for outer in map(ipaddress.ip_network, pools) if inner.subnet_of(outer)),  # type: ignore[arg-type]
        inner.prefixlen,
    )
