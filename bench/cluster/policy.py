"""Policy: what new connections cost with so many rules, and how long policies take to be compiled."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import msgspec
from demo.console import Console

from bench.cluster import connections
from bench.cluster.measure import in_space, listens, output
from bench.cluster.ways import STREAM, Cluster, address_of
from bench.daemons import Daemon
from bench.results import cell
from bench.rows import Samples, figure, milliseconds
from linkspan.engine.policy.guards import concerned, guard_of
from linkspan.model.cluster import Remote
from linkspan.model.container import Config, Container, HostConfig
from linkspan.model.endpoint import Endpoint, Sandbox
from linkspan.model.network import Network
from linkspan.model.policy import Entity, Policy, PolicySpec, Rule
from linkspan.model.resource import Metadata
from linkspan.model.snapshot import Snapshot, Write, put

RULES = (0, 100, 1000)
SECONDS = 1.0
POLICIES, ENDPOINTS, HERE = 1_000, 10_000, 100
_SERVER, _CLIENT = "policy-server", "policy-client"


def measure(cluster: Cluster, runs: int, console: Console) -> Sequence[str]:
    """Paragraphs for the results."""
    return [*_connections(cluster.daemons["h1"], runs, console), *_compiled(runs, console)]


# -- connections ------------------------------------------------------------------------------------------------------


def _connections(daemon: Daemon, runs: int, console: Console) -> list[str]:
    server, client = (daemon.create(name=name) for name in (_SERVER, _CLIENT))
    for id_ in (server, client):
        daemon.run(id_)
    there, address, here = daemon.sandbox(server), address_of(daemon, server), daemon.sandbox(client)
    script = [sys.executable, "-I", connections.__file__]
    found: dict[int | None, list[float]] = defaultdict(list)
    with subprocess.Popen([*in_space(there), *script, "serve", address, str(STREAM)]) as serving:
        try:
            listens(there, STREAM)
            for number in range(runs):
                for rules in (None, *RULES):
                    with console.working(f"connections, {rules} rules ({number + 1} of {runs})"):
                        _let(daemon, rules)
                        counted = [*in_space(here), *script, "count", address, str(STREAM)]
                        output([*counted, "0.2"])
                        found[rules].append(float(output([*counted, str(SECONDS)])))
        finally:
            serving.kill()
            _let(daemon, None)
            for id_ in (server, client):
                daemon.remove(id_)
    samples = {rules: Samples(tuple(values), "/s") for rules, values in found.items()}
    base = samples[0].median
    for rules, one in samples.items():
        console.line(f"  {_title(rules)}: {one.median:,.0f} connections a second")
    rows = [f"| {_title(rules)} | {cell(one)} | {figure(one.median / base)} |" for rules, one in samples.items()]
    return [
        "",
        "## New connections, with policy",
        "",
        "| | TCP connections, one after the other | of those with 0 rules |",
        "|---|---|---|",
        *rows,
        "",
        "Two containers on one bridge, both ends guarded: rules of the server's ingress and of the client's egress, of "
        "which the last one matches. With 0 rules that is the only one: the difference from no policy is connection "
        "tracking in two more network namespaces. Budget: 1,000 rules ≥ 0.95 of 0 rules.",
    ]


def _title(rules: int | None) -> str:
    return "no policy" if rules is None else f"{rules:,} rules"


def _let(daemon: Daemon, rules: int | None) -> None:
    """The policies with so many rules beside the one that matters, or none."""
    if rules is None:
        for name in ("in", "out"):
            daemon.api("DELETE", f"/policy/resources/gnp/{name}")
        return
    ends = (("in", "ingress", "source", _SERVER, _CLIENT), ("out", "egress", "destination", _CLIENT, _SERVER))
    for name, direction, end, about, other in ends:
        made = [_rule(end, {"nets": [f"198.18.{n // 250}.{n % 250}/32"]}, 8000 + n % 100) for n in range(rules)]
        made.append(_rule(end, {"selector": f"projectcalico.org/name == '{other}'"}, STREAM))
        manifest = {
            "apiVersion": "projectcalico.org/v3",
            "kind": "GlobalNetworkPolicy",
            "metadata": {"name": name},
            "spec": {"selector": f"projectcalico.org/name == '{about}'", direction: made},
        }
        status, answer = daemon.api("POST", "/policy/apply", manifest)
        if status != 200:
            raise RuntimeError(f"policy with {rules} rules: {json.loads(answer)}")


def _rule(end: str, who: dict[str, Any], port: int) -> dict[str, Any]:
    ports = {"ports": [port]}
    both = {"destination": {**who, **ports}} if end == "destination" else {"source": who, "destination": ports}
    return {"action": "Allow", "protocol": "TCP", **both}


# -- compiling --------------------------------------------------------------------------------------------------------


def _compiled(runs: int, console: Console) -> list[str]:
    places, policies = _population(), [put(_policy(number)) for number in range(POLICIES)]
    remote = places.remotes[f"e{ENDPOINTS - 1}"]
    moved = msgspec.structs.replace(remote, labels={**remote.labels, "app": "a7"})
    spec = _policy(33).spec
    shorter = msgspec.structs.replace(_policy(33), spec=msgspec.structs.replace(spec, ingress=spec.ingress[:2]))
    whole: list[float] = []
    changes: dict[str, list[float]] = defaultdict(list)
    with console.working("compiling policies"):
        for _ in range(runs):
            now = places
            whole.append(_timed(partial(_all, places, policies)))
            now = places.after(policies)
            for what, record in (("the labels of a container elsewhere", moved), ("a rule of a policy", shorter)):
                changes[what].append(_timed(partial(_follow, now, [put(record)])))
    console.line(f"  {POLICIES:,} policies compiled in {min(whole):.2f} s")
    rows = [
        f"| {what} | {cell(milliseconds(times))} | {limit} |"
        for what, times, limit in (
            ("all of it, from records to rules", whole, "≤ 2,000 ms"),
            *((what, times, "≤ 20 ms") for what, times in changes.items()),
        )
    ]
    return [
        "",
        f"## {POLICIES:,} policies, {ENDPOINTS:,} containers",
        "",
        "| | processor's time | budget |",
        "|---|---|---|",
        *rows,
        "",
        f"{HERE} of the containers are this host's. Each policy has five rules and is about two dozen containers, one "
        "in twenty about a sixth of all. A change: the index followed, and the guards of the sandboxes that it "
        "concerns as they were and as they are.",
    ]


def _timed(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def _all(places: Snapshot, policies: list[Write]) -> int:
    now = places.after(policies)
    return sum(guard_of(now, sandbox) is not None for sandbox in now.sandboxes.values())


def _follow(before: Snapshot, writes: list[Write]) -> int:
    after = before.after(writes)
    found = [before.sandboxes[id_] for id_ in concerned(before, after)]
    return sum(guard_of(moment, sandbox) is not None for sandbox in found for moment in (before, after))


def _population() -> Snapshot:
    writes = [put(Network(id="n", name="n", driver="overlay", created="", scope="global"))]
    for n in range(ENDPOINTS):
        labels = {"app": f"a{n % 500}", "tier": ("front", "back", "store")[n % 3], "env": ("prod", "test")[n % 2]}
        address, address6 = f"10.0.{n >> 8}.{n & 255}", f"fd00::{n:x}"
        if n >= HERE:
            writes.append(
                put(
                    Remote(
                        id=f"e{n}",
                        network_id="n",
                        host_id="h",
                        container_id=f"c{n}",
                        name=f"c{n}",
                        labels=labels,
                        address=address,
                        address6=address6,
                    )
                )
            )
            continue
        container = Container(
            id=f"c{n}",
            name=f"c{n}",
            created="",
            image_id="",
            config=Config(labels=labels),
            host_config=HostConfig(),
            networks={},
        )
        endpoint = Endpoint(
            id=f"e{n}",
            network_id="n",
            sandbox_id=f"s{n}",
            container_id=f"c{n}",
            interface="eth0",
            address=address,
            address6=address6,
        )
        sandbox = Sandbox(id=f"s{n}", container_id=f"c{n}", kind="own", path=f"/s{n}")
        writes += [put(container), put(sandbox), put(endpoint)]
    return Snapshot().after(writes)


def _policy(number: int) -> Policy:
    def allow(port: int, selector: str) -> Rule:
        return Rule(action="Allow", protocol="TCP", source=Entity(selector=selector), destination=Entity(ports=(port,)))

    about = f'app == "a{number % 500}"' if number % 20 else 'tier == "front" && env != "test"'
    everybody = 'tier in {"front", "back"} && env == "prod"'
    some = (f'app == "a{(number * 7 + n) % 500}"' for n in range(3))
    to = Rule(action="Allow", protocol="TCP", destination=Entity(selector=f'app == "a{number * 7 % 500}"'))
    return Policy(
        metadata=Metadata(name=f"p{number}"),
        spec=PolicySpec(
            order=float(number % 10),
            selector=about,
            types=("Ingress", "Egress"),
            ingress=tuple(allow(80 + n, selector) for n, selector in enumerate((everybody, *some))),
            egress=(to,),
        ),
    )
