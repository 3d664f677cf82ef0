"""The mesh: `GET /mesh` and `GET /mesh/authority`, which Docker does not have."""

from __future__ import annotations

import datetime
from typing import Any

from linkspan.daemon.mesh.standing import AuthorityView, MeshView, PeerStanding

_ENCRYPTION = {"wireguard": "WireGuard", "tun": "WireGuard (wireguard-go)", "": "off"}


def mesh(view: MeshView) -> dict[str, Any]:
    own = view.own
    return {
        "Mesh": own.mesh_id,
        "Host": {"ID": own.host_id, "Name": own.name, "Address": own.address, "Address6": own.address6},
        "Encryption": _ENCRYPTION[view.kind],
        "MTU": view.mtu,
        "Peers": [_peer(standing) for standing in view.peers],
    }


def token(text: str, expires: float) -> dict[str, Any]:
    """`expires` in seconds since 1970; 0 for never, which is told as ""."""
    moment = datetime.datetime.fromtimestamp(expires, datetime.UTC) if expires else None
    return {"Token": text, "Expires": f"{moment:%Y-%m-%dT%H:%M:%SZ}" if moment else ""}


def authority(view: AuthorityView) -> dict[str, Any]:
    return {
        "Number": view.number,
        "Fingerprint": view.fingerprint.hex(),
        "Hosts": [{"Name": name, "Number": number} for name, number in sorted(view.hosts.items())],
    }


def _peer(standing: PeerStanding) -> dict[str, Any]:
    peer = standing.peer
    return {
        "ID": peer.host_id,
        "Name": peer.name,
        "Address": peer.address,
        "Address6": peer.address6,
        "Way": standing.way,
        "Through": standing.through,
        "Since": standing.since,
        "LatencyMilliseconds": standing.latency,
        "Endpoint": standing.at,
        "HandshakeSeconds": standing.handshake,
    }
