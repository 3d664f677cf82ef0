"""Images made by hand, and registries to keep them in: Debian's, and one of our own that misbehaves on request."""

from __future__ import annotations

import base64
import contextlib
import gzip
import hashlib
import http.server
import io
import json
import shutil
import socket
import ssl
import subprocess
import tarfile
import threading
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"
CONFIG = "application/vnd.docker.container.image.v1+json"
OCI = "application/vnd.oci.image.manifest.v1+json"
LIST = "application/vnd.docker.distribution.manifest.list.v2+json"


def digest(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()


def tar(files: Mapping[str, bytes | str | None]) -> bytes:
    """Bytes are a file, text is a link, None is a directory; modes 0755, owned by 1:2, of the year 2001."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.mode, member.uid, member.gid, member.mtime = 0o755, 1, 2, 1_000_000_000
            if content is None:
                member.type = tarfile.DIRTYPE
                archive.addfile(member)
            elif isinstance(content, str):
                member.type, member.linkname = tarfile.SYMTYPE, content
                archive.addfile(member)
            else:
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


class Made:
    """An image of the given layers (tars): its config, its compressed blobs, its manifest."""

    def __init__(self, *layers: bytes, architecture: str = "amd64", **config: Any) -> None:
        self.tars = layers
        self.config = json.dumps(
            {
                "architecture": architecture,
                "os": "linux",
                "created": "2024-01-02T03:04:05Z",
                "config": config,
                "rootfs": {"type": "layers", "diff_ids": [digest(layer) for layer in layers]},
                "history": [{"created": "2024-01-02T03:04:05Z", "created_by": "by hand"} for _ in layers],
            }
        ).encode()
        self.id = digest(self.config)
        self.blobs = [gzip.compress(layer, 1, mtime=0) for layer in layers]
        entries = [{"mediaType": LAYER, "digest": digest(blob), "size": len(blob)} for blob in self.blobs]
        self.manifest = json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": MANIFEST,
                "config": {"mediaType": CONFIG, "digest": self.id, "size": len(self.config)},
                "layers": entries,
            }
        ).encode()
        self.digest = digest(self.manifest)

    def docker_archive(self, *tags: str) -> bytes:
        files: dict[str, bytes | str | None] = {f"{n}/layer.tar": layer for n, layer in enumerate(self.tars)}
        entry = {"Config": "c.json", "RepoTags": tags or None, "Layers": list(files)}
        return tar({**files, "c.json": self.config, "manifest.json": json.dumps([entry]).encode()})

    def oci_layout(self, name: str) -> bytes:
        entry = {"digest": self.digest, "size": len(self.manifest), "mediaType": MANIFEST}
        index = {"schemaVersion": 2, "manifests": [{**entry, "annotations": {"io.containerd.image.name": name}}]}
        blobs = {f"./blobs/sha256/{digest(b)[7:]}": b for b in (self.config, self.manifest, *self.blobs)}
        return tar({**blobs, "./oci-layout": b"{}", "./index.json": json.dumps(index).encode()})


async def pieces(content: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(content), 50_000):
        yield content[start : start + 50_000]


class FakeRegistry:
    """Serves what is put into `manifests` ("path:tag" or digest) and `blobs`; knobs make it misbehave."""

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self.manifests: dict[str, bytes] = {}
        self.blobs: dict[str, bytes] = {}
        self.media_types: dict[bytes, str] = {}  # of manifests that do not say it themselves
        self.password = ""  # asked for by a token where not empty: user "me"
        self.breaks_off = 0  # this many answers with a blob end in the middle
        self.blobs_asked: list[tuple[str, str]] = []  # (digest, Range)
        self.gate: threading.Event | None = None  # blobs wait for it after their first half
        fake = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                fake._answer(self)

            def do_POST(self) -> None:  # a token for an identity token
                size = int(self.rfile.readline(), 16)  # it comes in one chunk
                sent = self.rfile.read(size)
                assert b"refresh_token=refresh" in sent
                fake._send(self, b'{"access_token": "tok-"}')

            def log_message(self, format: str, *arguments: object) -> None: ...

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.handle_error = lambda *_: None  # type: ignore[method-assign]
        if context:
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.scheme = "https" if context else "http"
        self.host = f"127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    def close(self) -> None:
        if self.gate:
            self.gate.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def offer(self, name: str, image: Made) -> None:
        """`name` is path:tag."""
        self.manifests[name] = self.manifests[image.digest] = image.manifest
        self.blobs[image.id] = image.config
        self.blobs |= {digest(blob): blob for blob in image.blobs}

    def put(self, name: str, manifest: bytes, media_type: str = "") -> None:
        self.manifests[name] = self.manifests[digest(manifest)] = manifest
        self.media_types[manifest] = media_type or _media_type(manifest)

    def _answer(self, handler: http.server.BaseHTTPRequestHandler) -> None:
        path, _, query = handler.path.partition("?")
        allowed = handler.headers.get("Authorization", "")
        if path == "/token":
            expected = "Basic " + base64.b64encode(f"me:{self.password}".encode()).decode()
            if allowed != expected:
                return self._refuse(handler, 401, "UNAUTHORIZED", "incorrect username or password")
            return self._send(handler, json.dumps({"token": "tok-" + query}).encode())
        if self.password and not allowed.startswith("Bearer tok-"):
            handler.send_response(401)
            realm = f'Bearer realm="{self.scheme}://{self.host}/token",service="fake",scope="repository:x:pull"'
            handler.send_header("WWW-Authenticate", realm)
            handler.send_header("Content-Length", "0")
            handler.end_headers()
            return None
        if path == "/v2/":
            return self._send(handler, b"{}")
        if path.endswith("/tags/list"):
            repository = path.removeprefix("/v2/").removesuffix("/tags/list")
            found = [name.partition(":")[2] for name in self.manifests if name.startswith(repository + ":")]
            return self._send(handler, json.dumps({"tags": found}).encode())
        repository, kind, what = path.removeprefix("/v2/").rsplit("/", 2)
        if kind == "manifests":
            content = self.manifests.get(what) or self.manifests.get(f"{repository}:{what}")
            if content is None:
                return self._refuse(handler, 404, "MANIFEST_UNKNOWN", "manifest unknown")
            return self._send(handler, content, self.media_types.get(content) or _media_type(content))
        return self._blob(handler, what)

    def _blob(self, handler: http.server.BaseHTTPRequestHandler, what: str) -> None:
        wanted = handler.headers.get("Range", "")
        self.blobs_asked.append((what, wanted))
        content = self.blobs[what]
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else 0
        handler.send_response(206 if wanted else 200)
        handler.send_header("Content-Length", str(len(content) - start))
        handler.end_headers()
        half = start + (len(content) - start) // 2
        handler.wfile.write(content[start:half])
        if self.breaks_off:
            self.breaks_off -= 1
            handler.connection.shutdown(socket.SHUT_RDWR)
            return
        if self.gate and len(content) > 5000:
            self.gate.wait()
        handler.wfile.write(content[half:])

    def _send(self, handler: http.server.BaseHTTPRequestHandler, content: bytes, kind: str = "") -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", kind or "application/json")
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content)

    def _refuse(self, handler: http.server.BaseHTTPRequestHandler, status: int, code: str, message: str) -> None:
        content = json.dumps({"errors": [{"code": code, "message": message}]}).encode()
        handler.send_response(status)
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content)


def _media_type(manifest: bytes) -> str:
    """What a registry says a manifest is: what it says of itself."""
    try:
        return str(json.loads(manifest)["mediaType"])
    except (ValueError, LookupError, TypeError):
        return MANIFEST


@contextlib.contextmanager
def fake_registry(context: ssl.SSLContext | None = None) -> Iterator[FakeRegistry]:
    registry = FakeRegistry(context)
    try:
        yield registry
    finally:
        registry.close()


@contextlib.contextmanager
def real_registry(folder: Path) -> Iterator[str]:
    """Debian's docker-registry on a port of loopback; answers its host:port."""
    if shutil.which("docker-registry") is None:
        pytest.skip("needs Debian's docker-registry")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    configuration = folder / "registry.json"
    storage = {"filesystem": {"rootdirectory": str(folder / "registry")}}
    log = {"level": "error", "accesslog": {"disabled": True}}
    configuration.write_text(json.dumps({"version": "0.1", "log": log, "storage": storage, "http": {"addr": address}}))
    with (folder / "registry.log").open("wb") as output:
        process = subprocess.Popen(["docker-registry", "serve", str(configuration)], stdout=output, stderr=output)
    try:
        for _ in range(200):
            with contextlib.suppress(OSError), socket.create_connection(address.split(":"), 1):  # type: ignore[arg-type]
                break
            assert process.poll() is None, (folder / "registry.log").read_text()
            time.sleep(0.05)
        yield address
    finally:
        process.terminate()
        process.wait()


@contextlib.contextmanager
def certificates_of(host: str) -> Iterator[Path]:
    """The folder of /etc/docker/certs.d for a host, gone afterwards with those above it that were not there."""
    folder = Path("/etc/docker/certs.d", host)
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        for file in folder.iterdir():
            file.unlink()
        for path in made:
            path.rmdir()


def certificate(folder: Path) -> tuple[ssl.SSLContext, Path]:
    """A server's context with a certificate for 127.0.0.1 that nobody knows, and that certificate."""
    folder.mkdir(exist_ok=True)
    key, cert = folder / "key.pem", folder / "cert.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=127.0.0.1"
    extra = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(cert)]
    subprocess.run([*command.split(), *extra], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    return context, cert
