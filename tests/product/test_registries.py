"""Registries that want to know who asks, or answer with nonsense."""

from __future__ import annotations

import base64
import http.server
import threading
from collections.abc import Callable, Iterator

import pytest

from tests.hosts import socket_in
from tests.product.engine import Done
from tests.product.place import Place

PORT = 5004
GOOD = "Basic " + base64.b64encode(b"me:secret").decode()


class Registry(http.server.BaseHTTPRequestHandler):
    """Knows one user, and has nothing. What lies below /v2/broken breaks it."""

    def do_GET(self) -> None:
        known = self.headers.get("Authorization") == GOOD
        if "broken" in self.path:
            status = 502
        elif known:
            status = 200 if self.path == "/v2/" else 404
        else:
            status = 401
        self.send_response(status)
        if not known:
            self.send_header("WWW-Authenticate", 'Basic realm="here"')
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *ignored: object) -> None:
        """Nobody reads it."""


@pytest.fixture
def registry(engine: Place) -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", PORT), Registry, bind_and_activate=False)
    server.socket.close()
    server.socket = socket_in(engine.here)  # in the daemon's host
    server.server_bind()
    server.server_activate()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield f"127.0.0.1:{PORT}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_login(client: Callable[..., Done], registry: str) -> None:
    wrong = client("login", "-u", "me", "--password-stdin", registry, stdin="wrong\n", status=1).err
    assert "unauthorized" in wrong and registry in wrong
    assert "Login Succeeded" in client("login", "-u", "me", "--password-stdin", registry, stdin="secret\n").out
    known = client("pull", f"{registry}/thing", status=1).err
    assert "login" not in known
    client("logout", registry)
    assert "pull access denied" in client("pull", f"{registry}/thing", status=1).err


def test_a_registry_that_is_broken(client: Callable[..., Done], registry: str) -> None:
    client("login", "-u", "me", "--password-stdin", registry, stdin="secret\n")
    broken = client("pull", f"{registry}/broken", status=1).err
    client("logout", registry)
    assert "received unexpected HTTP status: 502 Bad Gateway" in broken
