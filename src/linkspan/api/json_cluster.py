"""The cluster and its hosts: `GET /cluster`, `GET /hosts`, which Docker does not have."""

from __future__ import annotations

from typing import Any

from linkspan.daemon.cluster.cluster import ClusterView, HostView
from linkspan.store.etcd.values import MemberStatus


def host(view: HostView) -> dict[str, Any]:
    record = view.host
    return {
        "ID": record.id,
        "Name": record.name,
        "Address": record.address or record.address6,
        "Addresses": [address for address in (record.address, record.address6) if address],
        "MTU": record.mtu,
        "Labels": dict(record.labels),
        "Version": record.version,
        "Status": "up" if view.since else "down",
        "Since": view.since,
        "Containers": view.containers,
        "Self": view.this,
    }


def cluster(view: ClusterView) -> dict[str, Any]:
    return {
        "Store": view.address,
        "Usable": not view.trouble,
        "Trouble": view.trouble,
        "Host": {"ID": view.host.id, "Name": view.host.name, "Address": view.host.address or view.host.address6},
        "Watch": {
            "Member": view.member,
            "Revision": view.revision,
            "Lag": view.lag,
            "SilentSeconds": round(view.silent, 1),
            "BytesRead": view.bytes_read,
        },
        "Members": [_member(member) for member in view.members],
        "Tunnels": [
            {
                "Network": tunnel.network,
                "VNI": tunnel.vni,
                "Host": tunnel.host,
                "Address": tunnel.address,
                "Containers": tunnel.containers,
            }
            for tunnel in view.tunnels
        ],
        "Blocks": [{"Network": network, "Subnet": subnet, "Host": name} for network, subnet, name in view.blocks],
        "Held": list(view.held),
    }


def _member(status: MemberStatus) -> dict[str, Any]:
    return {
        "Address": status.address,
        "Failure": status.failure,
        "Leader": bool(status.id) and status.id == status.leader,
        "Version": status.version,
        "Revision": status.revision,
        "Bytes": status.size,
        "Alarms": list(status.errors),
    }
