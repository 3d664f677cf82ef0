"""So many watches, read and thrown away: what the other hosts are to etcd. A JSON line a second: bytes read so far."""

from __future__ import annotations

import base64
import json
import selectors
import socket
import sys
import time

from bench.scale.world import ROOT
from linkspan.engine.publication import RECORDS
from linkspan.store.etcd.address import parse_cluster


def main() -> None:
    members, count = parse_cluster(sys.argv[1]).members, int(sys.argv[2])
    prefix = f"{ROOT}{RECORDS}".encode()
    key, end = (base64.b64encode(part).decode() for part in (prefix, prefix[:-1] + bytes([prefix[-1] + 1])))
    body = json.dumps({"create_request": {"key": key, "range_end": end}}).encode()
    selector = selectors.DefaultSelector()
    for number in range(count):
        member = members[number % len(members)]
        link = socket.create_connection((member.host, member.port))
        link.sendall(b"POST /v3/watch HTTP/1.1\r\nHost: etcd\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        link.setblocking(False)
        selector.register(link, selectors.EVENT_READ)
    print(json.dumps({"watches": count}), flush=True)
    buffer, total, told = bytearray(1 << 20), 0, time.monotonic()
    while True:
        for key_, _ in selector.select(1):
            total += key_.fileobj.recv_into(buffer)  # type: ignore[union-attr]
        if time.monotonic() - told >= 1:
            told = time.monotonic()
            print(json.dumps({"bytes": total}), flush=True)


if __name__ == "__main__":
    main()
