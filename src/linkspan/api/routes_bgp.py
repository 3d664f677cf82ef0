"""This host's BGP: a path of our own."""

from __future__ import annotations

from typing import Any

from linkspan.api.http import Answer, Request, json_response
from linkspan.daemon.bgp.status import BgpView, SessionView
from linkspan.daemon.daemon import Daemon
from linkspan.errors import Conflict


async def status(daemon: Daemon, request: Request) -> Answer:
    if daemon.bgp is None:
        raise Conflict("this host has no BGP: it is in no cluster, or linkspand was started with --bgp=off")
    return json_response(_view(await daemon.bgp.view()))


def _view(view: BgpView) -> dict[str, Any]:
    plan = view.plan
    return {
        "Mode": view.mode,
        "Wanted": plan is not None,
        "Folder": view.folder,
        "Trouble": view.trouble,
        "Problems": list(view.problems),
        "Restarts": view.restarts,
        "AS": plan.as_number if plan else 0,
        "RouterID": plan.router_id if plan else "",
        "ClusterID": plan.cluster_id if plan else "",
        "Pools": [
            {"Subnet": pool.subnet, "Routed": pool.routed, "Exported": pool.exported}
            for pool in (plan.pools if plan else ())
        ],
        "Announced": [*plan.announced.blocks, *plan.announced.lone] if plan else [],
        "Sessions": [_session(session) for session in view.sessions],
        "Refused": [{"Prefix": one.prefix, "By": one.by} for one in view.refused],
    }


def _session(view: SessionView) -> dict[str, Any]:
    neighbour, session = view.neighbour, view.session
    return {
        "Peer": neighbour.said,
        "Kind": neighbour.kind,
        "Address": neighbour.address,
        "AS": neighbour.as_number,
        "Client": neighbour.client,
        "State": session.state if session else "",
        "Since": session.since_utc if session else "",
        "Trouble": session.trouble if session else "",
        "Gone": view.gone,
        "Imported": session.imported if session else 0,
        "Filtered": session.filtered if session else 0,
        "Exported": session.exported if session else 0,
    }


ROUTES = (("GET", "/bgp", status),)
