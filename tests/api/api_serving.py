"""A running server, and how a test talks to it."""

from __future__ import annotations

import asyncio
import dataclasses
import http.client
import json
import socket
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from canned_daemon import FakeDaemon

from linkspan.api.server import Server


@dataclasses.dataclass
class Running:
    daemon: FakeDaemon
    server: Server
    path: Path
    loop: asyncio.AbstractEventLoop

    @property
    def host(self) -> str:
        return f"unix://{self.path}"

    def connect(self) -> socket.socket:
        client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        client.settimeout(20)
        client.connect(str(self.path))
        return client

    def ask(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> tuple[int, Any, dict[str, str]]:
        """Status, decoded body, headers (lower case)."""
        connection = http.client.HTTPConnection("localhost", timeout=20)
        connection.sock = self.connect()
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        try:
            sent = {"Content-Type": "application/json"} if isinstance(body, dict | list) else {}
            connection.request(method, path, data, sent | (headers or {}))
            response = connection.getresponse()
            raw = response.read()
        finally:
            connection.close()
        found = {name.lower(): value for name, value in response.getheaders()}
        decoded = json.loads(raw) if raw and "json" in found.get("content-type", "") and raw.count(b"\r\n") < 2 else raw
        return response.status, decoded, found

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Runs a coroutine on the server's loop."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(20)

    def call(self, work: Callable[[], Any]) -> Any:
        async def wrapped() -> Any:
            return work()

        return self.run(wrapped())
