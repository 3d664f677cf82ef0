"""Pull, push, load, save, import and removal, as the front doors call them."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import dataclasses
import gzip
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from image_box import (
    LAYER,
    LIST,
    OCI,
    FakeRegistry,
    Made,
    certificate,
    certificates_of,
    digest,
    fake_registry,
    pieces,
    real_registry,
    tar,
)

from linkspan.daemon.images import Images
from linkspan.errors import Conflict, Internal, InvalidArgument, LinkspanError, NotFound, Unauthorized, Unsupported
from linkspan.model.container import Config, Container, HostConfig, State
from linkspan.model.event import Event
from linkspan.runtime import rootfs
from linkspan.runtime.images import ImageStore, skopeo
from linkspan.runtime.images import pull as pulling

pytestmark = pytest.mark.root

BASE = tar({"bin/": None, "bin/sh": b"shell" * 2000, "etc/": None, "etc/gone": b"x", "opaque/old": b"x"})
TOP = tar({"etc/.wh.gone": b"", "opaque/.wh..wh..opq": b"", "opaque/new": b"y", "bin/link": "sh"})


@dataclasses.dataclass
class Box:
    root: Path
    store: ImageStore
    images: Images
    events: list[Event]
    containers: list[Container]

    def told(self) -> list[tuple[str, str]]:
        return [(event.action, event.attributes["name"]) for event in self.events]

    def files(self) -> dict[str, set[str]]:
        return {
            name: {path.name for path in (self.root / name).iterdir()}
            for name in ("blobs", "layers", "images", "staging")
        }

    def assert_empty(self) -> None:
        assert self.files() == {"blobs": set(), "layers": set(), "images": set(), "staging": set()}


def box(root: Path, **options: Any) -> Box:
    events: list[Event] = []
    containers: list[Container] = []
    store = ImageStore(root, **options)
    return Box(root, store, Images(store, containers=lambda: containers, emit=events.append), events, containers)


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Box]:
    place = box(tmp_path / "images")
    yield place
    assert place.files()["staging"] == set()
    again = ImageStore(place.root)
    assert again.images() == place.store.images(), "a daemon that starts again sees the same"


@pytest.fixture
def fake() -> Iterator[FakeRegistry]:
    with fake_registry() as found:
        yield found


async def collect(lines: AsyncIterator[dict[str, Any]]) -> list[dict[str, Any]]:
    return [line async for line in lines]


def pull(place: Box, name: str, tag: str = "1", *, platform: str = "", auth: str = "") -> list[dict[str, Any]]:
    return asyncio.run(collect(place.images.pull(name, tag, platform=platform, auth=auth)))


def children() -> list[str]:
    """Processes that this one has started, and that still are."""
    return [pid for file in Path("/proc/self/task").glob("*/children") for pid in file.read_text().split()]


def statuses(lines: list[dict[str, Any]]) -> list[str]:
    found = [f"{line['id']}: {line['status']}" if "id" in line else line["status"] for line in lines]
    return [text for text in found if "Downloading" not in text and "Extracting" not in text]


# -- pull and push ----------------------------------------------------------------------------------------------------


def test_pull_says_what_docker_says(here: Box, fake: FakeRegistry) -> None:
    made = Made(BASE, Env=["A=b"], Cmd=["sh"])
    fake.offer("team/app:1", made)
    layer = digest(made.blobs[0])[7:19]
    lines = pull(here, f"{fake.host}/team/app")
    name = f"{fake.host}/team/app"
    assert statuses(lines) == [
        "1: Pulling from team/app",
        f"{layer}: Pulling fs layer",
        f"{layer}: Verifying Checksum",
        f"{layer}: Download complete",
        f"{layer}: Pull complete",
        f"Digest: {made.digest}",
        f"Status: Downloaded newer image for {name}:1",
    ]
    image = here.images.view(name + ":1").image
    assert (image.id, image.tags, image.digests) == (made.id, (f"{name}:1",), (f"{name}@{made.digest}",))
    assert (image.config.cmd, image.config.env, image.size) == (("sh",), ("A=b",), 10_002)
    assert (Path(image.layers[0]) / "bin/sh").stat().st_uid == 1
    assert (Path(image.layers[0]) / "bin/sh").stat().st_mtime == 1_000_000_000
    assert statuses(pull(here, name))[-1] == f"Status: Image is up to date for {name}:1"
    assert here.told() == [("pull", name)] * 2
    for ref in (made.id, made.id[7:], made.id[7:19], made.id[:15], f"{name}@{made.digest}"):
        assert here.images.view(ref).image is image


def test_progress_counts_bytes(here: Box, fake: FakeRegistry) -> None:
    made = Made(tar({"big": os.urandom(3_000_000)}), BASE)
    fake.offer("a:1", made)
    fake.gate = threading.Event()  # so that it lasts

    async def watch() -> list[dict[str, Any]]:
        lines = []
        async for line in here.images.pull(f"{fake.host}/a", "1", platform="", auth=""):
            lines.append(line)
            if line["status"] == "Downloading" and fake.gate:
                fake.gate.set()
        return lines

    lines = [line for line in asyncio.run(watch()) if line["status"] == "Downloading"]
    assert {line["id"] for line in lines} == {digest(made.blobs[0])[7:19]}, "one file cannot be the other layer"
    size = len(made.blobs[0])
    assert all(0 < d["current"] <= d["total"] == size for d in (line["progressDetail"] for line in lines))


def test_layers_are_as_the_image_meant_them(here: Box, fake: FakeRegistry, tmp_path: Path) -> None:
    fake.offer("a:1", Made(BASE, TOP))
    pull(here, f"{fake.host}/a")
    folder = tmp_path / "c"
    folder.mkdir()
    merged = rootfs.mount(folder, [Path(layer) for layer in here.images.views()[0].image.layers])
    try:
        assert not (merged / "etc/gone").exists()
        assert [path.name for path in (merged / "opaque").iterdir()] == ["new"]
        assert (merged / "bin/link").read_bytes() == b"shell" * 2000
    finally:
        rootfs.remove(folder)


def test_shared_layers_come_once_and_stay_until_the_last(here: Box, fake: FakeRegistry) -> None:
    fake.offer("a:1", Made(BASE, TOP))
    fake.offer("b:1", Made(BASE))
    pull(here, f"{fake.host}/a")
    fake.blobs_asked.clear()
    shared = digest(Made(BASE).blobs[0])
    assert f"{shared[7:19]}: Already exists" in statuses(pull(here, f"{fake.host}/b"))
    assert shared not in [asked for asked, _ in fake.blobs_asked]
    gone = asyncio.run(here.images.remove(f"{fake.host}/a:1", force=False, prune=True))
    assert [line["Deleted"] for line in gone if "Deleted" in line] == [Made(BASE, TOP).id, digest(TOP)]
    assert (Path(here.images.view(f"{fake.host}/b:1").image.layers[0]) / "bin/sh").exists()
    asyncio.run(here.images.remove(f"{fake.host}/b:1", force=False, prune=True))
    here.assert_empty()


def test_two_at_once_bring_it_once(here: Box, fake: FakeRegistry) -> None:
    made = Made(BASE, TOP)
    fake.offer("a:1", made)

    async def both() -> None:
        one, two = (here.images.pull(f"{fake.host}/a", "1", platform="", auth="") for _ in range(2))
        await asyncio.gather(collect(one), collect(two))

    asyncio.run(both())
    asked = [name for name, _ in fake.blobs_asked]
    assert all(asked.count(digest(blob)) == 1 for blob in made.blobs)


def test_platforms(here: Box, fake: FakeRegistry) -> None:
    ours, theirs = Made(BASE), Made(TOP, architecture="arm64")
    fake.offer("a:ours", ours)
    fake.offer("a:theirs", theirs)
    entries = [
        {"digest": made.digest, "size": 1, "platform": {"os": "linux", "architecture": architecture}}
        for made, architecture in ((theirs, "arm64"), (ours, "amd64"))
    ]
    listing = json.dumps({"schemaVersion": 2, "mediaType": LIST, "manifests": entries}).encode()
    fake.manifests["a:1"] = listing
    name = f"{fake.host}/a"
    assert f"Digest: {digest(listing)}" in statuses(pull(here, name))
    assert here.images.view(name + ":1").image.id == ours.id
    pull(here, name, platform="linux/arm64")
    assert here.images.view(name + ":1").image.architecture == "arm64"
    with pytest.raises(NotFound, match="no matching manifest for linux/s390x in the manifest list entries"):
        pull(here, name, platform="linux/s390x")
    with pytest.raises(NotFound, match=r"does not match the specified platform"):
        pull(here, name, "ours", platform="linux/arm/v7")
    with pytest.raises(InvalidArgument):
        pull(here, name, platform="windows/amd64")


def test_all_tags_and_digests(here: Box, fake: FakeRegistry) -> None:
    first, second = Made(BASE), Made(TOP)
    fake.offer("a:1", first)
    fake.offer("a:2", second)
    pull(here, f"{fake.host}/a", "")
    assert {view.image.tags for view in here.images.views()} == {(f"{fake.host}/a:1",), (f"{fake.host}/a:2",)}
    lines = pull(here, f"{fake.host}/a", first.digest)
    assert lines[0]["id"] == first.digest
    fake.manifests[first.digest] = second.manifest
    with pytest.raises(Internal, match="manifest verification failed"):
        pull(here, f"{fake.host}/a", first.digest)


def test_push_gives_back_what_was_pulled(here: Box, fake: FakeRegistry, tmp_path: Path) -> None:
    made = Made(BASE, TOP)
    fake.offer("a:1", made)
    pull(here, f"{fake.host}/a")
    with real_registry(tmp_path) as host:

        async def push() -> list[dict[str, Any]]:
            await here.images.tag(f"{fake.host}/a:1", f"{host}/team/b", "2")
            return await collect(here.images.push(f"{host}/team/b", "2", auth=""))

        lines = asyncio.run(push())
        assert lines[-2]["status"] == f"2: digest: {made.digest} size: {len(made.manifest)}"
        assert lines[-1]["aux"] == {"Tag": "2", "Digest": made.digest, "Size": len(made.manifest)}
        assert [line.get("status") for line in lines].count("Pushed") == 2
        again = asyncio.run(collect(here.images.push(f"{host}/team/b", "2", auth="")))
        assert [line.get("status") for line in again].count("Layer already exists") == 2
        other = box(tmp_path / "other")
        pull(other, f"{host}/team/b", "2")
        assert other.images.views()[0].image.id == made.id
        with pytest.raises(NotFound, match=f"manifest for {host}/team/b:3 not found: manifest unknown"):
            pull(other, f"{host}/team/b", "3")
        with pytest.raises(NotFound, match="An image does not exist locally with the tag"):
            asyncio.run(collect(here.images.push(f"{host}/none", "1", auth="")))


def oci(made: Made, layers: list[bytes], kind: str) -> bytes:
    manifest = json.loads(made.manifest)
    del manifest["mediaType"]
    manifest["config"]["mediaType"] = "application/vnd.oci.image.config.v1+json"
    entries = [{"mediaType": kind, "digest": digest(layer), "size": len(layer)} for layer in layers]
    return json.dumps({**manifest, "layers": entries}).encode()


def test_what_is_of_another_form_comes_unchanged(here: Box, fake: FakeRegistry, tmp_path: Path) -> None:
    made = Made(BASE, TOP)
    fake.offer("base:1", Made(BASE))
    fake.offer("a:packed", made)
    fake.blobs |= {digest(layer): layer for layer in (BASE, TOP)}
    plain = json.loads(made.manifest)
    for entry, layer in zip(plain["layers"], (BASE, TOP), strict=True):
        entry |= {"mediaType": LAYER.removesuffix(".gzip"), "digest": digest(layer), "size": len(layer)}
    fake.put("a:plain", json.dumps(plain).encode())
    fake.put("a:oci", oci(made, made.blobs, "application/vnd.oci.image.layer.v1.tar+gzip"), OCI)
    fake.put("a:oci-plain", oci(made, [BASE, TOP], "application/vnd.oci.image.layer.v1.tar"), OCI)
    with real_registry(tmp_path) as host:
        for number, tag in enumerate(("packed", "plain", "oci", "oci-plain")):
            place = box(tmp_path / tag)
            if number % 2 == 0:
                pull(place, f"{fake.host}/base")  # a layer is there, under the name of its other compression or not
            fake.blobs_asked.clear()
            lines = pull(place, f"{fake.host}/a", tag)
            assert number % 2 or digest(made.blobs[0]) not in [asked for asked, _ in fake.blobs_asked]
            assert f"Digest: {digest(fake.manifests[f'a:{tag}'])}" in statuses(lines)
            assert place.images.view(f"{fake.host}/a:{tag}").image.id == made.id
            if number % 2:
                asyncio.run(place.images.tag(made.id, f"{host}/b", tag))
                sent = asyncio.run(collect(place.images.push(f"{host}/b", tag, auth="")))
                assert sent[-1]["aux"]["Digest"] == digest(fake.manifests[f"a:{tag}"])


def test_push_of_what_was_loaded(here: Box, tmp_path: Path) -> None:
    made = Made(BASE, tar({"f": os.urandom(3_000_000)}))
    load(here, made.docker_archive("a:1"))
    with real_registry(tmp_path) as host:
        asyncio.run(here.images.tag("a:1", f"{host}/b", "1"))
        first, again = (asyncio.run(collect(here.images.push(f"{host}/b", "1", auth=""))) for _ in range(2))
        assert [line.get("status") for line in first].count("Pushed") == 2
        assert [line.get("status") for line in again].count("Layer already exists") == 2
        assert first[-1] == again[-1]
        details = [line["progressDetail"] for line in first if line.get("status") == "Pushing"]
        assert all(0 < d["current"] <= d["total"] for d in details)
        other = box(tmp_path / "other")
        assert f"Digest: {first[-1]['aux']['Digest']}" in statuses(pull(other, f"{host}/b"))
        assert other.images.views()[0].image.id == made.id
    with pytest.raises(Internal, match=r"dial tcp .*connection refused"):
        asyncio.run(collect(here.images.push(f"{host}/b", "1", auth="")))


# -- what can go wrong with a registry --------------------------------------------------------------------------------


def test_an_image_that_is_not_there(here: Box, fake: FakeRegistry) -> None:
    with pytest.raises(NotFound) as missing:
        pull(here, f"{fake.host}/none")
    assert str(missing.value) == f"manifest for {fake.host}/none:1 not found: manifest unknown: manifest unknown"
    here.assert_empty()


def test_a_registry_that_is_not_there(here: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Internal, match=r'Get "https://127.0.0.1:1/v2/": dial tcp .*connection refused'):
        pull(here, "127.0.0.1:1/a")
    monkeypatch.setattr(skopeo, "ANSWER_TIMEOUT", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(Internal, match="i/o timeout"):
        pull(here, f"127.0.0.1:{silent.getsockname()[1]}/a")


def test_credentials(here: Box, fake: FakeRegistry) -> None:
    fake.password = "secret"
    fake.offer("a:1", Made(BASE))

    def header(password: str) -> str:
        return base64.urlsafe_b64encode(json.dumps({"username": "me", "password": password}).encode()).decode()

    pull(here, f"{fake.host}/a", auth=header("secret"))
    for auth in ("", "%%%", header("wrong")):  # what cannot be read is nobody
        with pytest.raises(NotFound, match=r"pull access denied for .*, repository does not exist or may require"):
            pull(here, f"{fake.host}/a", auth=auth)
    token = {"identitytoken": "refresh"}
    pull(here, f"{fake.host}/a", auth=base64.urlsafe_b64encode(json.dumps(token).encode()).decode())
    with pytest.raises(Unsupported):
        pull(here, f"{fake.host}/a", auth=base64.urlsafe_b64encode(b'{"registrytoken": "x"}').decode())
    assert asyncio.run(here.images.login(fake.host, "me", "secret")) == "Login Succeeded"
    with pytest.raises(Unauthorized, match="unauthorized: incorrect username or password"):
        asyncio.run(here.images.login(fake.host, "me", "wrong"))


def test_nobody_sees_the_credentials(here: Box, fake: FakeRegistry) -> None:
    fake.password = "secret"
    fake.offer("a:1", Made(tar({"f": os.urandom(100_000)})))
    fake.gate = threading.Event()
    auth = base64.urlsafe_b64encode(b'{"username": "me", "password": "secret"}').decode()

    async def look() -> list[bytes]:
        lines = here.images.pull(f"{fake.host}/a", "1", platform="", auth=auth)
        async for line in lines:
            if line["status"] == "Downloading":
                break
        (file,) = here.root.glob("staging/*/auth.json")
        assert (file.stat().st_mode & 0o777, file.parent.stat().st_mode & 0o777) == (0o600, 0o700)
        seen = []
        for pid in children():
            with contextlib.suppress(OSError):  # it has ended meanwhile
                seen += [Path(f"/proc/{pid}/{name}").read_bytes() for name in ("cmdline", "environ")]
        await lines.aclose()  # type: ignore[attr-defined]
        return seen

    seen = asyncio.run(look())
    assert any(fake.host.encode() in text for text in seen) and not [
        text for text in seen if b"secret" in text or auth.encode() in text
    ]


def test_whom_to_trust() -> None:
    trust = skopeo.Trust(["plain.example:5000", "10.0.0.0/8"])
    assert all(map(trust.insecure, ("plain.example:5000", "10.1.2.3:5000", "127.9.9.9", "localhost:1", "[::1]:5")))
    assert not any(map(trust.insecure, ("plain.example", "11.1.1.1", "example.com:5000")))


def test_certificates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(skopeo.Trust, "insecure", lambda self, host: False)  # loopback, too
    context, known = certificate(tmp_path / "tls")
    place = box(tmp_path / "images")
    with fake_registry(context) as fake:
        fake.offer("a:1", Made(BASE))
        with pytest.raises(Internal, match="x509"):
            pull(place, f"{fake.host}/a")
        with certificates_of(fake.host) as folder:
            (folder / "ca.crt").write_bytes(known.read_bytes())
            pull(place, f"{fake.host}/a")
    with fake_registry() as fake, pytest.raises(Internal, match="server gave HTTP response to HTTPS client"):
        pull(place, f"{fake.host}/a")


def test_an_insecure_registry_may_have_any_certificate(here: Box, tmp_path: Path) -> None:
    context, _ = certificate(tmp_path / "tls")
    with fake_registry(context) as fake:
        fake.offer("a:1", Made(BASE))
        pull(here, f"{fake.host}/a")


def test_a_download_that_breaks_off_is_begun_again(here: Box, fake: FakeRegistry) -> None:
    fake.offer("a:1", Made(tar({"f": os.urandom(100_000)})))
    fake.breaks_off = 2
    pull(here, f"{fake.host}/a")
    fake.offer("b:1", Made(tar({"f": os.urandom(100_000)})))
    fake.breaks_off = 100
    with pytest.raises(Internal, match="unexpected EOF"):
        pull(here, f"{fake.host}/b")


def test_a_blob_that_is_not_what_it_should_be(here: Box, fake: FakeRegistry) -> None:
    made = Made(BASE)
    fake.offer("a:1", made)
    blob = digest(made.blobs[0])
    fake.blobs[blob] = bytes(len(made.blobs[0]))
    with pytest.raises(Internal, match=f"filesystem layer verification failed for digest {blob}"):
        pull(here, f"{fake.host}/a")
    here.assert_empty()


def test_a_layer_that_is_not_what_the_config_says(here: Box, fake: FakeRegistry) -> None:
    made, other = Made(BASE), Made(TOP)
    fake.offer("a:1", made)
    fake.blobs[digest(other.blobs[0])] = other.blobs[0]
    manifest = json.loads(made.manifest)
    manifest["layers"] = [{"mediaType": LAYER, "digest": digest(other.blobs[0]), "size": len(other.blobs[0])}]
    fake.put("a:1", json.dumps(manifest).encode())
    with pytest.raises(InvalidArgument, match="not what its image says"):
        pull(here, f"{fake.host}/a")
    here.assert_empty()


@pytest.mark.parametrize(
    "manifest",
    [b"", b"[]", b"not json", b'{"schemaVersion": 1}', b'{"config": {"digest": "sha256:../../x", "size": 1}}', b"\xff"],
)
def test_a_manifest_that_makes_no_sense(here: Box, fake: FakeRegistry, manifest: bytes) -> None:
    fake.manifests["a:1"] = manifest
    with pytest.raises(LinkspanError):
        pull(here, f"{fake.host}/a")
    here.assert_empty()


def test_a_client_that_goes_away_ends_the_pull(here: Box, fake: FakeRegistry) -> None:
    fake.offer("a:1", Made(tar({"f": os.urandom(3_000_000)}), BASE))
    fake.gate = threading.Event()
    before = children()

    async def leave() -> None:
        lines = here.images.pull(f"{fake.host}/a", "1", platform="", auth="")
        async for line in lines:
            if line["status"] == "Downloading":
                break
        await lines.aclose()  # type: ignore[attr-defined]

    asyncio.run(leave())
    here.assert_empty()
    assert children() == before


def test_a_registry_that_falls_silent(here: Box, fake: FakeRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pulling, "_SILENCE", 0.3)
    fake.offer("a:1", Made(BASE, tar({"f": os.urandom(100_000)})))
    fake.gate = threading.Event()
    with pytest.raises(Internal, match="i/o timeout"):
        pull(here, f"{fake.host}/a")
    here.assert_empty()


def test_a_full_disk(tmp_path: Path, fake: FakeRegistry) -> None:
    fake.offer("a:1", Made(tar({"f": os.urandom(800_000)}), tar({"g": os.urandom(800_000)})))
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", disk], check=True)
    try:
        place = box(disk / "images")
        with pytest.raises(Internal, match="no space left on device"):
            pull(place, f"{fake.host}/a")
        place.assert_empty()
        with pytest.raises(Internal, match="no space left on device"):
            asyncio.run(collect(place.images.load(pieces(bytes(4_000_000)), quiet=False)))
        place.assert_empty()
    finally:
        subprocess.run(["umount", disk], check=True)


KILLED = """
import asyncio, os, pathlib, signal, sys
from linkspan.runtime.images import ImageStore
from linkspan.runtime.images.pull import pull
from linkspan.model.reference import parse_reference

left = int(sys.argv[3])
def dying(method):
    def do(*arguments, **more):
        global left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return method(*arguments, **more)
    return do
for name in ("rename", "replace", "mkdir", "unlink"):
    setattr(pathlib.Path, name, dying(getattr(pathlib.Path, name)))

async def main():
    store = ImageStore(pathlib.Path(sys.argv[1]))
    async for _ in pull(store, parse_reference(sys.argv[2]), platform="", auth=""):
        pass
asyncio.run(main())
"""


def test_killed_at_any_step_it_leaves_a_good_store(tmp_path: Path, fake: FakeRegistry) -> None:
    made = Made(BASE, TOP)
    fake.offer("a:1", made)
    for step in range(1, 60):
        command = [sys.executable, "-c", KILLED, str(tmp_path / "images"), f"{fake.host}/a:1", str(step)]
        status = subprocess.run(command, check=False).returncode
        place = box(tmp_path / "images")
        if place.store.images():
            assert place.store.images()[0].id == made.id
            assert all(Path(layer).is_dir() for layer in place.store.images()[0].layers)
            asyncio.run(place.images.remove(made.id, force=True, prune=True))
        place.assert_empty()
        if status == 0:
            assert step > 10, "it was killed at every step before"
            return
        assert status == -signal.SIGKILL
    raise AssertionError("it never came to its end")


# -- load, save, import -----------------------------------------------------------------------------------------------


def load(place: Box, content: bytes, *, quiet: bool = True) -> list[dict[str, Any]]:
    return asyncio.run(collect(place.images.load(pieces(content), quiet=quiet)))


def save(place: Box, *refs: str) -> bytes:
    async def all_of() -> bytes:
        return b"".join([piece async for piece in place.images.save(list(refs))])

    return asyncio.run(all_of())


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_load_a_docker_archive(here: Box, pack: Any) -> None:
    made = Made(BASE, TOP, Cmd=["sh"])
    assert load(here, pack(made.docker_archive("app:1", "other/app:2"))) == [
        {"stream": "Loaded image: app:1\n"},
        {"stream": "Loaded image: other/app:2\n"},
    ]
    assert here.images.view("app:1").image.id == made.id
    assert load(here, made.docker_archive())[-1] == {"stream": f"Loaded image ID: {made.id}\n"}
    assert here.told()[:2] == [("load", "app:1"), ("load", "other/app:2")]


def test_load_an_oci_layout(here: Box) -> None:
    made = Made(BASE)
    assert load(here, made.oci_layout("docker.io/library/app:1")) == [{"stream": "Loaded image: app:1\n"}]
    assert here.images.view("app:1").image.id == made.id


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"junk" * 1000,
        tar({"x": b""}),
        tar({"manifest.json": b"{"}),
        tar({"manifest.json": b'[{"Config": "../../etc/passwd", "Layers": []}]'}),
        tar({"manifest.json": b'[{"Config": "c", "Layers": ["l"]}]', "c": b"{}"}),
        tar({"manifest.json": b'[{"Config": "c", "Layers": []}]', "c": "/etc/passwd"}),
        Made(BASE).docker_archive("Bad Name"),
        Made(BASE).docker_archive("a:1")[:4000],
        gzip.compress(Made(BASE).docker_archive("a:1"))[:300],
        tar({"index.json": b'{"manifests": [{"digest": "sha256:../x"}]}'}),
    ],
)
def test_what_cannot_be_loaded(here: Box, content: bytes) -> None:
    with pytest.raises(InvalidArgument):
        load(here, content)
    here.assert_empty()


def test_a_layer_that_leads_out_of_its_folder(here: Box, tmp_path: Path) -> None:
    for hostile in ({"../../out": b"x"}, {"l": str(tmp_path), "l/out": b"x"}, {"..": None, "a/../../out": b"x"}):
        with pytest.raises(LinkspanError):
            load(here, Made(tar(hostile)).docker_archive("a:1"))
        here.assert_empty()
    assert not (tmp_path / "out").exists()


def test_save_is_what_docker_load_reads(here: Box, fake: FakeRegistry, tmp_path: Path) -> None:
    made = Made(BASE, TOP)
    fake.offer("a:1", made)
    pull(here, f"{fake.host}/a")
    load(here, Made(BASE, Cmd=["x"]).docker_archive("app:1"))
    content = save(here, f"{fake.host}/a:1", "app:1", made.id[7:20])
    other = box(tmp_path / "other")
    load(other, content)
    assert {view.image.id for view in other.images.views()} == {made.id, Made(BASE, Cmd=["x"]).id}
    assert other.images.view("app:1") and other.images.view(f"{fake.host}/a:1")
    (tmp_path / "saved.tar").write_bytes(content)
    command = ["skopeo", "inspect", "--raw", "--config", f"docker-archive:{tmp_path / 'saved.tar'}:app:1"]
    assert subprocess.run(command, check=True, capture_output=True).stdout == Made(BASE, Cmd=["x"]).config
    with pytest.raises(NotFound, match="No such image: none"):
        save(here, "none")


def test_import(here: Box) -> None:
    changes = ['CMD ["sh", "-c", "x"]', "ENV A=b C='d e'", "EXPOSE 80 53/udp", "LABEL l=1", "USER me", "VOLUME /data"]
    changes += ["WORKDIR /w", "STOPSIGNAL SIGINT", "ENTRYPOINT run me"]

    async def do(content: bytes, repo: str, changes: list[str]) -> list[dict[str, Any]]:
        body = pieces(content)
        return await collect(here.images.import_(body, repo=repo, tag="", message="mine", changes=changes))

    lines = asyncio.run(do(gzip.compress(BASE), "app", changes))
    image = here.images.view("app:latest").image
    assert lines == [{"status": image.id}]
    config = image.config
    assert (config.cmd, config.env) == (("sh", "-c", "x"), ("A=b", "C=d e"))
    assert (set(config.exposed_ports or ()), config.labels) == ({"80/tcp", "53/udp"}, {"l": "1"})
    assert (config.user, config.working_dir, config.stop_signal) == ("me", "/w", "SIGINT")
    assert (config.entrypoint, set(config.volumes or ())) == (("/bin/sh", "-c", "run me"), {"/data"})
    assert (image.comment, image.size) == ("mine", 10_002)
    asyncio.run(do(BASE, "", []))
    for content, bad in ((BASE, ["FROM x"]), (b"junk" * 1000, [])):
        with pytest.raises(InvalidArgument):
            asyncio.run(do(content, "bad", bad))
    assert len(here.images.views()) == 2


# -- names and removal ------------------------------------------------------------------------------------------------


def container(image: str, *, running: bool = False) -> Container:
    state = State(status="running" if running else "exited")
    id_ = ("ab" if running else "cd") * 32
    return Container(
        id=id_, name="c", created="", image_id=image, config=Config(), host_config=HostConfig(), state=state
    )


def remove(place: Box, ref: str, *, force: bool = False) -> list[dict[str, str]]:
    return asyncio.run(place.images.remove(ref, force=force, prune=True))


def test_the_last_name_takes_the_image_along(here: Box) -> None:
    made = Made(BASE)
    load(here, made.docker_archive("a:1"))
    asyncio.run(here.images.tag("a:1", "b", ""))
    assert here.images.view("b").image.tags == ("a:1", "b:latest")
    assert remove(here, "a:1") == [{"Untagged": "a:1"}]
    with pytest.raises(NotFound, match="No such image: a:1"):
        here.images.view("a:1")
    assert remove(here, "b") == [{"Untagged": "b:latest"}, {"Deleted": made.id}, {"Deleted": digest(BASE)}]
    here.assert_empty()
    assert [action for action, _ in here.told()] == ["load", "tag", "untag", "untag", "delete"]


def test_a_name_moves_to_another_image(here: Box) -> None:
    old, new = Made(BASE), Made(TOP)
    load(here, old.docker_archive("a:1"))
    load(here, new.docker_archive("a:1"))
    assert here.images.view("a:1").image.id == new.id
    assert here.images.view(old.id).image.tags == ()
    assert asyncio.run(here.images.prune(lambda view: not view.image.tags)) == (
        [{"Deleted": old.id}, {"Deleted": digest(BASE)}],
        10_002,
    )


def test_removal_in_the_way_of_containers(here: Box) -> None:
    made = Made(BASE)
    short = made.id[7:19]
    load(here, made.docker_archive("a:1"))
    here.containers.append(container(made.id))
    with pytest.raises(Conflict) as by_name:
        remove(here, "a:1")
    assert str(by_name.value) == (
        'conflict: unable to remove repository reference "a:1" (must force) - container cdcdcdcdcdcd is using its '
        f"referenced image {short}"
    )
    with pytest.raises(Conflict, match=r"\(must be forced\) - image is being used by stopped container cdcdcdcdcdcd"):
        remove(here, short)
    assert asyncio.run(here.images.prune(lambda view: True)) == ([], 0)
    here.containers[:] = [container(made.id, running=True)]
    with pytest.raises(Conflict) as by_id:
        remove(here, made.id, force=True)
    assert str(by_id.value) == (
        f"conflict: unable to delete {short} (cannot be forced) - image is being used by running container abababababab"
    )
    assert remove(here, "a:1", force=True) == [{"Untagged": "a:1"}], "the layers stay as long as the container"
    assert here.images.view(made.id).containers == 1


def test_an_id_of_many_names_must_be_forced(here: Box) -> None:
    made = Made(BASE)
    load(here, made.docker_archive("a:1", "b:1"))
    with pytest.raises(Conflict) as refused:
        remove(here, made.id)
    assert str(refused.value) == (
        f"conflict: unable to delete {made.id[7:19]} (must be forced) - image is referenced in multiple repositories"
    )
    assert remove(here, made.id, force=True)[:2] == [{"Untagged": "a:1"}, {"Untagged": "b:1"}]
    here.assert_empty()


def test_ambiguous_and_malformed_refs(here: Box) -> None:
    for number in range(40):
        load(here, Made(BASE, Labels={"n": str(number)}).docker_archive())
    assert len(here.images.views()) == 40
    firsts = [view.image.id[7] for view in here.images.views()]
    twice = next(digit for digit in firsts if firsts.count(digit) > 1)
    with pytest.raises(InvalidArgument, match="Multiple IDs found"):
        here.images.view(twice)
    for ref in ("", "No Such", "sha256:", "../..", "zz"):
        with pytest.raises((NotFound, InvalidArgument)):
            here.images.view(ref)
    with pytest.raises(InvalidArgument):
        asyncio.run(here.images.tag(here.images.views()[0].image.id, "Bad", ""))


def test_what_somebody_took_away_is_no_image_any_more(here: Box) -> None:
    made = Made(BASE)
    load(here, made.docker_archive("a:1"))
    here.store.blob(made.id).unlink()
    again = box(here.root)
    assert again.images.views() == []
    again.assert_empty()
    here.store = again.store
