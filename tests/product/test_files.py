"""docker cp, diff, export, commit."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.product.engine import Done
from tests.product.place import Place

Client = Callable[..., Done]


@pytest.mark.parametrize("runs", [True, False], ids=["running", "stopped"])
def test_copy(engine: Place, client: Client, tmp_path: Path, runs: bool) -> None:
    engine.run("--name", "box", "-v", "vol:/vol", "plain", "sleep", "60" if runs else "0")
    if not runs:
        engine.docker("wait", "box")
    (tmp_path / "tree/inner").mkdir(parents=True)
    (tmp_path / "tree/inner/file").write_text("content\n")
    (tmp_path / "tree/link").symlink_to("inner/file")
    (tmp_path / "script").write_text("#!/bin/sh\n")
    (tmp_path / "script").chmod(0o751)
    client("cp", str(tmp_path / "tree"), "box:/tmp")
    client("cp", str(tmp_path / "script"), "box:/tmp/renamed")
    client("cp", "box:/tmp/tree", str(tmp_path / "back"))
    assert (tmp_path / "back/inner/file").read_text() == "content\n"
    assert str((tmp_path / "back/link").readlink()) == "inner/file"
    client("cp", "box:/tmp/renamed", str(tmp_path))
    assert (tmp_path / "renamed").stat().st_mode & 0o777 == 0o751
    client("cp", "box:/tmp/tree/.", str(tmp_path / "back"))
    missing = client("cp", "box:/nothing", str(tmp_path), status=1).err
    assert "Could not find the file /nothing in container box" in missing or "No such container:path" in missing
    assert "nobody" in client("cp", "nobody:/x", str(tmp_path), status=1).err
    assert client("cp", str(tmp_path / "script"), "box:/not/there/", status=1).err


@pytest.mark.parametrize("runs", [True, False], ids=["running", "stopped"])
def test_copy_in_volumes(engine: Place, client: Client, tmp_path: Path, runs: bool) -> None:
    """What is in a volume or a bind mount is seen as the container sees it."""
    (tmp_path / "bound").mkdir()
    (tmp_path / "file").write_text("content\n")
    mounts = ("-v", "vol:/a/vol", "-v", f"{tmp_path}/bound:/bound", "-v", f"{tmp_path}/bound:/ro:ro")
    engine.out("create", "--name", "box", *mounts, "plain", "sleep", "60")
    if runs:
        engine.docker("start", "box")
    client("cp", str(tmp_path / "file"), "box:/a/vol")
    client("cp", str(tmp_path / "file"), "box:/a/vol/renamed")
    client("cp", str(tmp_path / "file"), "box:/bound/")
    assert (tmp_path / "bound/file").read_text() == "content\n"
    assert client("run", "--rm", "-v", "vol:/v", "plain", "ls", "/v").out == "file\nrenamed\n"
    client("cp", "box:/a/vol/renamed", str(tmp_path / "back"))
    assert (tmp_path / "back").read_text() == "content\n"
    assert "read-only" in client("cp", str(tmp_path / "file"), "box:/ro/x", status=1).err.lower()


def test_copy_through_a_pipe(engine: Place, client: Client) -> None:
    engine.run("--name", "box", "plain", "sleep", "60")
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        entry = tarfile.TarInfo("piped")
        entry.size = 3
        archive.addfile(entry, io.BytesIO(b"abc"))
    client("cp", "-", "box:/tmp", stdin=buffer.getvalue().decode())
    assert engine.out("exec", "box", "cat", "/tmp/piped") == "abc"
    assert "abc" in client("cp", "box:/tmp/piped", "-").out


def test_copy_cannot_leave_the_container(engine: Place, tmp_path: Path) -> None:
    """However links point inside, they are followed inside: nothing of the host is read or written."""
    (tmp_path / "secret").write_text("of the host\n")
    engine.run("--name", "box", "plain", "sleep", "60")
    engine.docker("exec", "box", "ln", "-s", str(tmp_path), "/tmp/out")
    engine.docker("exec", "box", "ln", "-s", "../../../../../../../../../../../../" + str(tmp_path), "/tmp/up")
    for link in ("out", "up"):
        engine.docker("cp", f"box:/tmp/{link}/secret", str(tmp_path / "stolen"), status=1)
        engine.docker("cp", str(tmp_path / "secret"), f"box:/tmp/{link}/planted", status=None)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name in ("../../../../../../../../" + str(tmp_path / "planted"), "out/planted"):
            archive.addfile(tarfile.TarInfo(name))
    engine.docker("cp", "-", "box:/tmp", stdin=buffer.getvalue().decode(), status=None)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["secret"]


def test_diff(engine: Place, client: Client) -> None:
    script = "echo x >/etc/new; echo y >>/etc/plain; rm /bin/polite; mkdir /made; mount | grep -q overlay"
    engine.docker("run", "--name", "changed", "plain", "sh", "-c", script)
    assert sorted(client("diff", "changed").out.splitlines()) == [
        "A /etc/new",
        "A /made",
        "C /bin",
        "C /etc",
        "C /etc/plain",
        "D /bin/polite",
    ]


def test_export_and_import(engine: Place, client: Client, tmp_path: Path) -> None:
    engine.docker("run", "--name", "source", "plain", "sh", "-c", "echo kept >/kept; rm /bin/polite")
    file = tmp_path / "root.tar"
    client("export", "-o", str(file), "source")
    with tarfile.open(file) as archive:
        names = archive.getnames()
    assert "kept" in names and "bin/busybox" in names and "bin/polite" not in names
    client("import", "-c", "CMD cat /kept", "-m", "said", str(file), "copy:v1")
    assert client("run", "--rm", "copy:v1").out == "kept\n"
    assert "said" in client("history", "copy:v1").out
    assert "copy:v1" in client("rmi", "copy:v1").out


def test_save_tag_load(engine: Place, client: Client, tmp_path: Path) -> None:
    file = tmp_path / "image.tar"
    client("tag", "plain", "other/name:v2")
    id_ = engine.inspect("plain")["Id"]
    client("save", "-o", str(file), "other/name:v2")
    assert client("rmi", "other/name:v2").out.strip() == "Untagged: other/name:v2"
    assert "Loaded image: other/name:v2" in client("load", "-i", str(file)).out
    assert engine.inspect("other/name:v2")["Id"] == id_
    assert client("images", "-q", "--no-trunc", "other/name").out.strip() == id_
    client("rmi", "other/name:v2")


def test_image_in_use(engine: Place, client: Client) -> None:
    engine.run("--name", "user", "plain", "sleep", "60")
    assert "conflict: unable to" in client("rmi", "plain", status=1).err
    assert "No such image: nothing" in client("rmi", "nothing", status=1).err


def test_commit_says_what_it_cannot(engine: Place) -> None:
    engine.run("--name", "box", "plain", "sleep", "60")
    done = engine.docker("commit", "box", "committed", status=None)
    if done.status == 0:
        engine.docker("rmi", "committed")
    else:
        assert "commit" in done.err and engine.request("POST", "/commit?container=box")[0] == 501, done
