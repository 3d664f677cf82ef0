"""Bind mounts and volumes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.docker_client import OLD_CLIENT
from tests.product.engine import Done
from tests.product.place import Place
from tests.product.test_options import sh

Client = Callable[..., Done]


def test_bind(engine: Place, client: Client, tmp_path: Path) -> None:
    folder = tmp_path
    (folder / "here").write_text("mine\n")
    assert sh(client, "cat /b/here; echo new >/b/made", "-v", f"{folder}:/b") == "mine"
    assert (folder / "made").read_text() == "new\n"
    assert "Read-only" in sh(client, "touch /b/x 2>&1; true", "-v", f"{folder}:/b:ro")
    assert sh(client, "cat /etc/plain", "-v", f"{folder}/here:/etc/plain:ro") == "mine"
    assert sh(client, "cat /b/here", "--mount", f"type=bind,src={folder},dst=/b,readonly") == "mine"


def test_bind_of_what_is_not_there(engine: Place, client: Client, tmp_path: Path) -> None:
    folder = tmp_path / "not" / "there"
    refused = client(
        "run", "-v", "/anonymous", "--mount", f"type=bind,src={folder},dst=/b", "plain", "true", status=125
    ).err
    assert f'invalid mount config for type "bind": bind source path does not exist: {folder}' in refused
    assert not folder.exists() and engine.out("ps", "-aq") == engine.out("volume", "ls", "-q") == ""
    client("run", "--rm", "-v", f"{folder}:/b", "plain", "touch", "/b/x")  # -v makes it, as Docker does
    assert (folder / "x").exists()


def test_named_volume(engine: Place, client: Client) -> None:
    client("run", "--rm", "-v", "keep:/data", "plain", "sh", "-c", "echo kept >/data/file")
    assert engine.out("volume", "ls", "-q") == "keep"
    assert sh(client, "cat /other/file", "-v", "keep:/other:ro") == "kept"
    found = engine.inspect("keep")
    assert (Path(found["Mountpoint"]) / "file").read_text() == "kept\n" and found["Driver"] == "local"
    engine.out("create", "--name", "user", "-v", "keep:/data", "plain")
    assert "volume is in use" in client("volume", "rm", "keep", status=1).err
    engine.docker("rm", "-v", "user")  # -v takes anonymous volumes only
    assert client("volume", "rm", "keep").out == "keep\n"
    assert "no such volume" in client("volume", "inspect", "keep", status=1).err.lower()


def test_volume_takes_what_the_image_has(client: Client, tmp_path: Path) -> None:
    assert sh(client, "cat /filled/from-image; stat -c %a /filled /filled/from-image", "-v", "fill:/filled") == (
        "from the image\n751\n640"
    )
    assert sh(client, "rm /filled/from-image; ls /filled", "-v", "fill:/filled") == ""
    assert sh(client, "ls /filled", "-v", "empty:/filled:nocopy") == ""
    assert sh(client, "ls /filled", "-v", f"{tmp_path}/empty:/filled") == ""  # binds never do


def test_anonymous_volumes(engine: Place, client: Client) -> None:
    id_ = client("run", "-d", "-v", "/data", "plain", "sh", "-c", "echo x >/data/f").out.strip()
    engine.docker("wait", id_)
    (mount,) = engine.inspect(id_)["Mounts"]
    assert mount["Type"] == "volume" and len(mount["Name"]) == 64 and mount["Destination"] == "/data"
    assert engine.out("volume", "ls", "-q") == mount["Name"]
    client("rm", id_)
    assert engine.out("volume", "ls", "-q") == mount["Name"]  # without -v it stays
    engine.docker("volume", "prune", "-f")
    assert engine.out("volume", "ls", "-q") == ""
    id_ = client("run", "-d", "-v", "/data", "plain", "true").out.strip()
    engine.docker("wait", id_)
    client("rm", "-v", id_)
    assert engine.out("volume", "ls", "-q") == ""
    client("run", "--rm", "-v", "/data", "-v", "named:/named", "plain", "true")  # --rm takes the anonymous ones
    assert engine.out("volume", "ls", "-q") == "named"


def test_volumes_from(engine: Place, client: Client) -> None:
    engine.docker("run", "--name", "first", "-v", "/data", "plain", "sh", "-c", "echo x >/data/f")
    assert sh(client, "cat /data/f", "--volumes-from", "first") == "x"


def test_volumes_from_in_a_mode_that_is_none(engine: Place) -> None:
    engine.docker("create", "--name", "data", "-v", "/data", "plain")
    refused = engine.docker("create", "--volumes-from", "data:zz", "plain", status=1)
    assert "invalid mode: zz" in refused.err


def test_volume_verbs(engine: Place, client: Client) -> None:
    assert client("volume", "create", "--label", "a=b", "vol1").out == "vol1\n"
    assert client("volume", "create", "vol1").out == "vol1\n"
    client("volume", "create", "vol2")
    assert client("volume", "ls", "-q", "-f", "label=a").out == "vol1\n"
    assert client("volume", "ls", "-q", "-f", "dangling=true").out == "vol1\nvol2\n"
    engine.out("create", "-v", "vol1:/x", "plain")
    assert client("volume", "ls", "-q", "-f", "dangling=true").out == "vol2\n"
    if OLD_CLIENT and client == engine.docker:  # to it, every unused volume is meant
        assert "vol2" in client("volume", "prune", "-f").out
    else:
        assert "vol2" not in client("volume", "prune", "-f").out
        assert "vol2" in client("volume", "prune", "-f", "-a").out
    assert "includes invalid characters" in client("volume", "create", "a/b", status=1).err


def test_sizes_of_volumes(engine: Place) -> None:
    engine.docker("run", "--name", "writer", "-v", "vol:/v", "plain", "sh", "-c", "head -c 5000 /dev/zero >/v/zeros")
    (found,) = engine.request("GET", "/system/df")[1]["Volumes"]
    assert found["UsageData"] == {"Size": 5000, "RefCount": 1}


def test_mounts_in_inspect(engine: Place) -> None:
    engine.run("--name", "mounted", "-v", f"{engine.folder}:/b:ro", "-v", "vol:/v", "plain", "sleep", "60")
    found = {mount["Destination"]: mount for mount in engine.inspect("mounted")["Mounts"]}
    assert (found["/b"]["Type"], found["/b"]["Source"], found["/b"]["RW"]) == ("bind", str(engine.folder), False)
    assert found["/v"]["Name"] == "vol"
    # In any order: docker keeps its -v options in a map.
    assert sorted(engine.inspect("mounted")["HostConfig"]["Binds"]) == [f"{engine.folder}:/b:ro", "vol:/v"]
