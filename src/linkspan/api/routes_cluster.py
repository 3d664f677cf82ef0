"""The cluster and its hosts: paths of our own."""

from __future__ import annotations

from linkspan.api import json_cluster
from linkspan.api.http import Answer, Request, Response, json_response
from linkspan.daemon.cluster.cluster import Cluster
from linkspan.daemon.daemon import Daemon
from linkspan.errors import Conflict


async def status(daemon: Daemon, request: Request) -> Answer:
    return json_response(json_cluster.cluster(await _cluster(daemon).view()))


async def hosts(daemon: Daemon, request: Request) -> Answer:
    return json_response([json_cluster.host(view) for view in await _cluster(daemon).hosts()])


async def host(daemon: Daemon, request: Request) -> Answer:
    return json_response(json_cluster.host(await _cluster(daemon).host(request.names["ref"])))


async def expel(daemon: Daemon, request: Request) -> Answer:
    if daemon.mesh:
        raise Conflict("a host of a mesh is taken out, and locked out, by: linkspan mesh forget HOST")
    await _cluster(daemon).expel(request.names["ref"], force=request.flag("force"))
    return Response(204)


def _cluster(daemon: Daemon) -> Cluster:
    if daemon.cluster is None:
        raise Conflict("this host is in no cluster: start linkspand with --cluster etcd://HOST:2379,… or --mesh")
    return daemon.cluster


ROUTES = (
    ("GET", "/cluster", status),
    ("GET", "/hosts", hosts),
    ("GET", "/hosts/{ref}", host),
    ("DELETE", "/hosts/{ref}", expel),
)
