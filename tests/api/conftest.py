"""A server with the fake daemon, in a thread of its own, so that clients that block can be driven against it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from api_serving import Running
from canned_daemon import FakeDaemon

from linkspan.api.server import Listener, Server, serve


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
        rest = asyncio.all_tasks() - {asyncio.current_task()}
        late = (await asyncio.wait(rest, timeout=2))[1] if rest else set()
        return [repr(task) for task in late]

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
