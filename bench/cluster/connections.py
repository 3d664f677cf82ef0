"""New connections, one after the other: `serve ADDRESS PORT`, and `count ADDRESS PORT SECONDS`.

A script of its own, that is started in a container's network namespace.
"""

from __future__ import annotations

import socket
import struct
import sys
import time


def main() -> None:
    verb, address, port, *more = sys.argv[1:]
    if verb == "serve":
        serve(address, int(port))
    print(count(address, int(port), float(more[0])))


def serve(address: str, port: int) -> None:
    """Accepts, and closes; until killed."""
    with socket.create_server((address, port), backlog=1024) as server:
        while True:
            server.accept()[0].close()


def count(address: str, port: int, seconds: float) -> float:
    """How many there are in a second. Each ends with a reset, so that no port waits for stragglers."""
    at_once = struct.pack("ii", 1, 0)
    made, began = 0, time.perf_counter()
    while (spent := time.perf_counter() - began) < seconds:
        for _ in range(50):
            with socket.socket() as client:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, at_once)
                client.connect((address, port))
                client.recv(1)
        made += 50
    return made / spent


if __name__ == "__main__":
    main()
