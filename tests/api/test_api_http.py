"""The protocol: keep-alive, bodies and their limits, garbage, taking the connection over, leaving and closing."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import stat
import struct
from pathlib import Path

import pytest
from api_serving import Running
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from linkspan.api.server import Listener, passed_sockets, serve
from linkspan.errors import Conflict, InvalidArgument, Unavailable

PING = b"GET /_ping HTTP/1.1\r\nHost: x\r\n\r\n"


def read_all(client: socket.socket) -> bytes:
    received = b""
    try:
        while piece := client.recv(65536):
            received += piece
    except ConnectionError:
        pass
    return received


def read_until(client: socket.socket, end: bytes) -> bytes:
    received = b""
    while not received.endswith(end):
        piece = client.recv(65536)
        assert piece, received
        received += piece
    return received


def upgrade(path: str, extra: bytes = b"") -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: 0\r\n\r\n"
    return head.encode() + extra


def test_keep_alive_and_pipelining(running: Running) -> None:
    with running.connect() as client:
        client.sendall(
            PING * 3 + b"POST /containers/web/start HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}" + PING
        )
        client.shutdown(socket.SHUT_WR)
        received = read_all(client)
    assert received.count(b"HTTP/1.1 200 OK") == 4
    assert received.count(b"HTTP/1.1 304 Not Modified") == 1


def test_a_stream_leaves_the_connection_usable(running: Running) -> None:
    with running.connect() as client:
        client.sendall(b"GET /events?until=1 HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"chunked" in read_until(client, b"0\r\n\r\n")
        client.sendall(PING)
        assert read_until(client, b"OK").startswith(b"HTTP/1.1 200")


def test_expect_continue(running: Running) -> None:
    with running.connect() as client:
        client.sendall(b"POST /images/load HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n")
        assert read_until(client, b"\r\n\r\n").startswith(b"HTTP/1.1 100")
        client.sendall(b"abc")
        assert b"Loaded 3 bytes" in read_until(client, b"0\r\n\r\n")


def test_a_huge_json_body_is_refused_unread(running: Running) -> None:
    size = 100 << 20
    with running.connect() as client:
        head = "POST /containers/create HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        client.sendall(f"{head}Content-Length: {size}\r\n\r\n".encode())
        sent = 0
        try:
            while sent < size:
                sent += client.send(b" " * min(1 << 20, size - sent))
                if sent > 1 << 20:
                    break  # a client that looks at the answer before all is sent
        except ConnectionError:
            pass
        received = read_until(client, b"}\n")
    assert received.startswith(b"HTTP/1.1 413 ")
    assert b"connection: close" in received.lower()
    assert running.ask("GET", "/_ping")[0] == 200


def test_a_huge_chunked_json_body_is_refused(running: Running) -> None:
    with running.connect() as client:
        client.sendall(b"POST /containers/create HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        try:
            for _ in range(8):
                client.sendall(b"100000\r\n" + b" " * (1 << 20) + b"\r\n")
        except ConnectionError:
            pass
        assert read_until(client, b"}\n").startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize(
    ("sent", "status", "words"),
    [
        (b"GET /x HTTP/1.1\r\n\r\n", 400, "Host"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400, "malformed"),
        (b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"b" * 100_000, 431, "malformed"),
        (b"POST /volumes/create HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{", 400, "broken"),
        (b"POST /volumes/create HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400, "broken"),
        (b"POST /images/load HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab", 400, "broken"),
    ],
)
def test_malformed_requests(running: Running, sent: bytes, status: int, words: str) -> None:
    with running.connect() as client:
        client.sendall(sent)
        client.shutdown(socket.SHUT_WR)
        head, _, body = read_all(client).partition(b"\r\n\r\n")
    assert head.startswith(f"HTTP/1.1 {status} ".encode())
    assert words in json.loads(body)["message"]
    assert running.ask("GET", "/_ping")[0] == 200


_LINES = st.one_of(
    st.binary(max_size=200),
    st.sampled_from([b"GET", b"POST", b"PUT", b"DELETE", b"HEAD", b"OPTIONS", b"\xff"]).flatmap(
        lambda method: st.sampled_from(
            [
                b"/containers/create",
                b"/v1.51/containers/json?filters=%7B",
                b"/containers/%00/json",
                b"/images/%2e%2e/json",
                b"/v1.999/x",
                b"//",
                b"*",
                b"/volumes/create",
                b"/exec/x/start",
                b"/containers/web/exec",
                b"/networks/app/connect",
                b"http://x/_ping",
            ]
        ).map(lambda path: method + b" " + path + b" HTTP/1.1\r\nHost: x\r\n")
    ),
)
_HEADERS = st.lists(
    st.sampled_from(
        [
            b"Content-Length: 5\r\n",
            b"Content-Length: -1\r\n",
            b"Content-Length: 99999999999999999999\r\n",
            b"Transfer-Encoding: chunked\r\n",
            b"Transfer-Encoding: gzip\r\n",
            b"Content-Type: application/json\r\n",
            b"Content-Type: text/html\r\n",
            b"Connection: Upgrade\r\nUpgrade: tcp\r\n",
            b"Expect: 100-continue\r\n",
            b"bad header\r\n",
        ]
    ),
    max_size=3,
)
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "Image",
                    "Cmd",
                    "HostConfig",
                    "PortBindings",
                    "Labels",
                    "Tty",
                    "Name",
                    "IPAM",
                    "Config",
                    "Container",
                    "x",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=8,
)
_BODIES = st.one_of(st.binary(max_size=50), _JSON.map(lambda value: json.dumps(value).encode()))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(_LINES, _HEADERS, _BODIES, st.booleans())
@example(b"POST /containers/create HTTP/1.1\r\nHost: x\r\n", [], b'{"Image":"mysql"}', True)
def test_only_our_own_errors_come_out(
    running: Running, line: bytes, headers: list[bytes], body: bytes, sized: bool
) -> None:
    length = [f"Content-Length: {len(body)}\r\n".encode()] if sized else []
    with running.connect() as client:
        try:
            client.sendall(line + b"".join([*headers, *length]) + b"\r\n" + body)
            client.shutdown(socket.SHUT_WR)
        except ConnectionError:
            pass
        received = read_all(client)
    assert b"Traceback" not in received and b"HTTP/1.1 500" not in received
    for answer in received.split(b"HTTP/1.1 ")[1:]:
        answered = answer.partition(b"\r\n\r\n")[2]
        if int(answer[:3]) >= 400 and answered:  # HEAD has no body
            assert set(json.loads(answered)) == {"message"}, received
    assert running.ask("GET", "/_ping")[0] == 200


def test_taking_over_with_bytes_glued_to_the_request(running: Running) -> None:
    with running.connect() as client:
        client.sendall(upgrade("/v1.50/containers/web/attach?stream=1&stdin=1&stdout=1&stderr=1", b"early"))
        head = read_until(client, b"\r\n\r\n" + b"\x01\0\0\0" + struct.pack(">I", 5) + b"early")
        assert head.startswith(b"HTTP/1.1 101 UPGRADED\r\n")
        assert b"Content-Type: application/vnd.docker.multiplexed-stream\r\n" in head
        assert b"Connection: Upgrade\r\n" in head and b"Upgrade: tcp\r\n" in head
        client.shutdown(socket.SHUT_WR)  # the end of input ends `cat`, whose end ends our side
        assert client.recv(10) == b""


@pytest.mark.parametrize(
    ("path", "type_"),
    [
        ("/v1.41/containers/web/attach?stream=1&stdout=1", b"application/vnd.docker.raw-stream"),
        ("/v1.51/containers/job/attach?stream=1&stdout=1", b"application/vnd.docker.raw-stream"),
        ("/containers/web/attach?stream=1&stdout=1", b"application/vnd.docker.multiplexed-stream"),
    ],
)
def test_the_type_of_a_stream(running: Running, path: str, type_: bytes) -> None:
    with running.connect() as client:
        client.sendall(upgrade(path))
        assert b"Content-Type: " + type_ + b"\r\n" in read_until(client, b"\r\n\r\n")


def test_taking_over_without_an_upgrade(running: Running) -> None:
    with running.connect() as client:
        client.sendall(b"POST /containers/web/attach?stream=1&stdin=1&stdout=1 HTTP/1.1\r\nHost: x\r\n\r\n")
        head = read_until(client, b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 OK\r\n") and b"chunked" not in head.lower()
        client.sendall(b"hi")
        assert read_until(client, b"hi") == b"\x01\0\0\0\0\0\0\x02hi"


def test_attach_to_nothing_is_an_ordinary_error(running: Running) -> None:
    with running.connect() as client:
        client.sendall(upgrade("/containers/none/attach?stream=1"))
        assert read_until(client, b"}\n").startswith(b"HTTP/1.1 404 ")


def test_attach_with_earlier_output(running: Running) -> None:
    with running.connect() as client:
        client.sendall(upgrade("/containers/web/attach?logs=1&stdout=1&stderr=1"))
        assert read_all(client).endswith(b"\x01\0\0\0\0\0\0\x04one\n\x02\0\0\0\0\0\0\x04two\n")


def test_detach_keys_leave_the_process_alone(running: Running) -> None:
    _, made, _ = running.ask("POST", "/containers/create?name=t", {"Image": "mysql", "Tty": True, "OpenStdin": True})
    with running.connect() as client:
        client.sendall(upgrade("/containers/t/attach?stream=1&stdin=1&stdout=1&detachKeys=ctrl-x,y"))
        read_until(client, b"\r\n\r\n")
        client.sendall(b"a\x18b\x18")
        assert read_until(client, b"b") == b"a\x18b"
        client.sendall(b"y")
        assert client.recv(10) == b""
    process = running.daemon.containers.processes[made["Id"]]
    assert process.detached and not process.ended.done()
    assert running.ask("POST", "/containers/t/attach?stream=1&detachKeys=long")[0] == 400


@pytest.mark.parametrize(
    ("path", "closed"),
    [
        ("/events", lambda running: running.daemon.system.closed),
        ("/containers/web/logs?follow=1&stdout=1", lambda running: running.daemon.containers.log_closed),
    ],
)
def test_a_client_that_leaves_ends_its_stream(running: Running, path: str, closed: object) -> None:
    assert callable(closed)
    client = running.connect()
    client.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    client.recv(10)
    client.close()
    running.run(asyncio.wait_for(closed(running).wait(), 5))


def test_the_head_of_a_wait_comes_at_once(running: Running) -> None:
    with running.connect() as client:
        client.sendall(b"POST /containers/web/wait HTTP/1.1\r\nHost: x\r\n\r\n")
        assert read_until(client, b"\r\n\r\n").startswith(b"HTTP/1.1 200")
        (future,) = running.daemon.containers.waiting[running.daemon.containers.view("web").container.id]
        running.call(lambda: future.set_result((137, "killed")))
        assert b'{"StatusCode":137,"Error":{"Message":"killed"}}' in read_until(client, b"0\r\n\r\n")


def test_an_old_client_gets_an_old_answer(running: Running) -> None:
    with running.connect() as client:
        client.sendall(b"GET /events?until=1 HTTP/1.0\r\n\r\n")
        received = read_all(client)
    assert b"chunked" not in received.lower() and received.rstrip().endswith(b"}")


# -- listeners ------------------------------------------------------------------------------------------------------


def test_the_socket_file(running: Running) -> None:
    mode = running.path.stat().st_mode
    assert stat.S_ISSOCK(mode) and stat.S_IMODE(mode) == 0o660
    with pytest.raises(Conflict, match="another daemon listens there"):
        running.run(serve(running.daemon, [Listener(running.host)]))  # type: ignore[arg-type]


def test_a_stale_socket_file_is_replaced(running: Running, tmp_path: Path) -> None:
    path = tmp_path / "deep" / "stale.sock"
    path.parent.mkdir()
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    server = running.run(serve(running.daemon, [Listener(f"unix://{path}")]))  # type: ignore[arg-type]
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        client.sendall(PING)
        assert client.recv(12) == b"HTTP/1.1 200"
    running.run(server.close(1))
    assert not path.exists()


def test_a_file_that_is_no_socket_stays(running: Running, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("mine")
    with pytest.raises(Conflict, match="is no socket"):
        running.run(serve(running.daemon, [Listener(f"unix://{path}")]))  # type: ignore[arg-type]
    assert path.read_text() == "mine"


@pytest.mark.parametrize("address", ["/x", "udp://x", "unix://relative", "tcp://x", "tcp://x:70000", "tcp://x:y"])
def test_bad_addresses(running: Running, address: str) -> None:
    with pytest.raises(InvalidArgument, match="invalid address"):
        running.run(serve(running.daemon, [Listener(address)]))  # type: ignore[arg-type]


def test_tcp(running: Running) -> None:
    server = running.run(serve(running.daemon, [Listener("tcp://127.0.0.1:0")]))  # type: ignore[arg-type]
    (address,) = server.addresses
    with pytest.raises(Conflict, match="cannot listen on"):
        running.run(serve(running.daemon, [Listener(address)]))  # type: ignore[arg-type]
    with socket.create_connection(("127.0.0.1", int(address.rpartition(":")[2]))) as client:
        client.sendall(upgrade("/containers/web/attach?stream=1&stdin=1&stdout=1", b"hi"))
        read_until(client, b"\x02hi")
        client.shutdown(socket.SHUT_WR)
        assert client.recv(1) == b""
    running.run(server.close(1))


def test_passed_sockets() -> None:
    with pytest.raises(Unavailable, match="no socket was passed"):
        passed_sockets({}, os.getpid(), "")
    with pytest.raises(Unavailable):
        passed_sockets({"LISTEN_FDS": "1", "LISTEN_PID": "1"}, 2, "")


def test_a_client_that_vanishes_with_answers_unread_ends_its_stream(running: Running) -> None:
    """The connection is then lost by a reset, without an end of file before."""
    client = running.connect()
    client.sendall(b"GET /events HTTP/1.1\r\nHost: x\r\n\r\n")
    client.recv(1, socket.MSG_PEEK)
    client.close()
    running.run(asyncio.wait_for(running.daemon.system.closed.wait(), 5))
