"""A daemon that answers from a script and remembers what it was asked. One thread a connection, a unix socket."""

from __future__ import annotations

import base64
import dataclasses
import json
import socket
import threading
import urllib.parse
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO


@dataclasses.dataclass(frozen=True)
class Asked:
    """One request, as it came."""

    method: str
    path: str  # without /v1.NN
    query: dict[str, list[str]]
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body) if self.body else None

    @property
    def verb(self) -> str:
        return f"{self.method} {self.path}"


@dataclasses.dataclass
class Answer:
    """What to send back. `stream` takes the connection over after a 101, and gets both directions of it."""

    status: int = 200
    body: Any = None
    headers: dict[str, str] = dataclasses.field(default_factory=dict)
    stream: Callable[[BinaryIO, socket.socket], None] | None = None
    chunks: list[bytes] | None = None


Handler = Callable[[Asked], Answer]


def frame(stream: int, payload: bytes) -> bytes:
    """One frame of Docker's multiplexed stream."""
    return bytes([stream, 0, 0, 0]) + len(payload).to_bytes(4, "big") + payload


def path_stat(name: str, *, directory: bool = False) -> str:
    """The X-Docker-Container-Path-Stat header of a file or directory."""
    mode = (1 << 31 | 0o755) if directory else 0o644
    return base64.b64encode(
        json.dumps({"name": name, "size": 3, "mode": mode, "mtime": "2025-01-02T03:04:05Z", "linkTarget": ""}).encode()
    ).decode()


class FakeDaemon:
    """Listens on `path` until `close`. `on["GET /x"]` is an Answer, or a function of Asked; a 404 for the rest."""

    def __init__(self, path: Path) -> None:
        self.asked: list[Asked] = []
        self.glued = b""  # sent in one piece with the head of a 101
        self.on: dict[str, Answer | Handler] = {
            "HEAD /_ping": Answer(headers={"Api-Version": "1.51", "Ostype": "linux", "Builder-Version": "2"}),
            "GET /_ping": Answer(body="OK", headers={"Api-Version": "1.51", "Ostype": "linux"}),
        }
        self.host = f"unix://{path}"
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(path))
        self._listener.listen(64)
        self._lock = threading.Lock()
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def last(self, verb: str) -> Asked:
        return [asked for asked in self.asked if asked.verb == verb][-1]

    @property
    def verbs(self) -> list[str]:
        return [asked.verb for asked in self.asked if not asked.path.endswith("/_ping")]

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        reader = connection.makefile("rb")
        try:
            while (asked := _read(reader)) is not None:
                with self._lock:
                    self.asked.append(asked)
                answer = self.on.get(asked.verb, Answer(404, {"message": f"page not found: {asked.verb}"}))
                if callable(answer):
                    answer = answer(asked)
                if answer.stream is not None:
                    head = _head(101, {"Connection": "Upgrade", "Upgrade": "tcp", **answer.headers})
                    connection.sendall(head + self.glued)
                    answer.stream(reader, connection)
                    return
                self._send(connection, asked, answer)
        except OSError:
            pass
        finally:
            reader.close()
            connection.close()

    def _send(self, connection: socket.socket, asked: Asked, answer: Answer) -> None:
        if answer.chunks is not None:
            connection.sendall(_head(answer.status, {"Transfer-Encoding": "chunked", **answer.headers}))
            for chunk in answer.chunks:
                connection.sendall(b"%x\r\n%s\r\n" % (len(chunk), chunk))
            connection.sendall(b"0\r\n\r\n")
            return
        body = (
            b""
            if answer.body is None
            else answer.body
            if isinstance(answer.body, bytes)
            else json.dumps(answer.body).encode()
        )
        head = {"Content-Type": "application/json", "Content-Length": str(len(body)), **answer.headers}
        if answer.status in (204, 304):
            head.pop("Content-Length")
        connection.sendall(_head(answer.status, head) + (b"" if asked.method == "HEAD" else body))


def _head(status: int, headers: dict[str, str]) -> bytes:
    reason = "UPGRADED" if status == 101 else "Reason"
    lines = [f"HTTP/1.1 {status} {reason}", *(f"{name}: {value}" for name, value in headers.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def _read(reader: BinaryIO) -> Asked | None:
    line = reader.readline().decode().split()
    if len(line) != 3:
        return None
    headers: dict[str, str] = {}
    while (header := reader.readline().strip()) != b"":
        name, _, value = header.decode().partition(":")
        headers[name.lower()] = value.strip()
    body = b""
    if headers.get("transfer-encoding") == "chunked":
        while (size := int(reader.readline(), 16)) > 0:
            body += reader.read(size)
            reader.readline()
        reader.readline()
    elif "content-length" in headers:
        body = reader.read(int(headers["content-length"]))
    url = urllib.parse.urlsplit(line[1])
    path = url.path
    if path.startswith("/v1."):
        path = path[path.index("/", 1) :]
    return Asked(line[0], path, urllib.parse.parse_qs(url.query, keep_blank_values=True), headers, body)
