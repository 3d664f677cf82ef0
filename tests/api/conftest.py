"""A server with the fake daemon, in a thread of its own, so that clients that block can be driven against it."""

from __future__ import annotations

import asyncio
import dataclasses
import http.client
import json
import socket
import threading
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest
from fake import FakeDaemon

from linkspan.api.server import Listener, Server, serve


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


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    path = tmp_path / "d.sock"

    async def begin() -> tuple[FakeDaemon, Server]:
        daemon = FakeDaemon()
        return daemon, await serve(daemon, [Listener(f"unix://{path}")])

    async def end() -> list[str]:
        await server.close(1)
        await asyncio.sleep(0)
        rest = asyncio.all_tasks() - {asyncio.current_task()}
        return [repr(task) for task in rest]

    daemon, server = asyncio.run_coroutine_threadsafe(begin(), loop).result(10)
    try:
        yield Running(daemon, server, path, loop)
    finally:
        left = asyncio.run_coroutine_threadsafe(end(), loop).result(20)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()
        assert not left, "the server left tasks behind"
        assert not path.exists()
