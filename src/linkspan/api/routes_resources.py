"""Resources as Calico has them: /policy/…, which Docker does not have. docs/guide/policy.md describes it."""

from __future__ import annotations

from typing import Any

from linkspan.api.http import Answer, Request, Response, json_response
from linkspan.daemon.daemon import Daemon
from linkspan.engine.policy.check import Path
from linkspan.engine.policy.verdict import Say
from linkspan.engine.resources import Decision
from linkspan.errors import InvalidArgument
from linkspan.model.manifests.kinds import kind_of
from linkspan.model.manifests.writing import manifest, yaml_of
from linkspan.model.resource import Resource

_YAML = (("Content-Type", "application/yaml"),)


async def apply(daemon: Daemon, request: Request) -> Answer:
    return _outcomes(await daemon.resources.apply(await request.body.read(), force=request.flag("force")))


async def delete(daemon: Daemon, request: Request) -> Answer:
    return _outcomes(await daemon.resources.delete(await request.body.read(), force=request.flag("force")))


async def list_(daemon: Daemon, request: Request) -> Answer:
    found = daemon.resources.listed(request.names.get("kind", ""), request.text("network"))
    if _as_yaml(request):
        return Response(200, yaml_of(found).encode(), _YAML)
    return json_response({"apiVersion": "v1", "kind": "List", "items": [manifest(one) for one in found]})


async def get(daemon: Daemon, request: Request) -> Answer:
    found = daemon.resources.get(request.names["kind"], request.names["name"], request.text("network"))
    if _as_yaml(request):
        return Response(200, yaml_of([found]).encode(), _YAML)
    return json_response(manifest(found))


async def delete_one(daemon: Daemon, request: Request) -> Answer:
    kind, name, force = request.names["kind"], request.names["name"], request.flag("force")
    return _outcomes(await daemon.resources.delete_named(kind, name, request.text("network"), force=force))


async def check(daemon: Daemon, request: Request) -> Answer:
    source, to = request.text("from"), request.text("to")
    if not (source and to):
        raise InvalidArgument("from and to are needed: containers, or addresses")
    paths = await daemon.resources.check(source, to, request.text("protocol", "tcp"), request.number("port") or 0)
    shown = [_path(path) for path in paths]
    logged = any(path.egress.logged or path.ingress.logged for path in paths)
    notes = [hidden] if logged and (hidden := daemon.resources.log_hidden()) else []
    notes += [
        f"container {name} has CAP_NET_ADMIN: its programs can evade what is said of it"
        for name in dict.fromkeys(name for path in paths for name in path.unbound)
    ]
    return json_response({"Allowed": all(path.allowed for path in paths), "Paths": shown, "Notes": notes})


def _path(path: Path) -> dict[str, Any]:
    return {
        "Network": path.network,
        "Source": path.source,
        "Destination": path.destination,
        "SeenAs": path.seen_as,
        "Allowed": path.allowed,
        "Egress": _say(path.egress, path.egress_at),
        "Ingress": _say(path.ingress, path.ingress_at),
    }


def _say(found: Say, at: str) -> dict[str, Any]:
    return {
        "At": at,
        "Allowed": found.allowed,
        "Rule": found.rule,
        "Tier": found.tier,
        "Policy": found.policy,
        "Logged": list(found.logged),
    }


def _as_yaml(request: Request) -> bool:
    asked = request.text("format", "json")
    if asked not in ("json", "yaml"):
        raise InvalidArgument(f"format {asked!r}: json or yaml")
    return asked == "yaml"


def _outcomes(decision: Decision) -> Answer:
    shown = [{**_named(outcome.record), "Result": outcome.result} for outcome in decision.outcomes]
    return json_response({"Resources": shown, "Warnings": decision.change.warnings})


def _named(record: Resource) -> dict[str, Any]:
    return {"Kind": kind_of(record).name, "Name": record.name, "Network": record.metadata.namespace}


ROUTES = (
    ("POST", "/policy/apply", apply),
    ("POST", "/policy/delete", delete),
    ("GET", "/policy/check", check),
    ("GET", "/policy/resources", list_),
    ("GET", "/policy/resources/{kind}", list_),
    ("GET", "/policy/resources/{kind}/{name}", get),
    ("DELETE", "/policy/resources/{kind}/{name}", delete_one),
)
