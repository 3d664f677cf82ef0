"""What systemd is told of a unit of Type=notify."""

from __future__ import annotations

import os
import socket


def notify_systemd(state: str) -> None:
    """sd_notify(3): `READY=1`. Nothing where systemd has not started us."""
    address = os.environ.get("NOTIFY_SOCKET")
    if address:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as link:
            link.connect("\0" + address[1:] if address.startswith("@") else address)
            link.sendall(state.encode())
