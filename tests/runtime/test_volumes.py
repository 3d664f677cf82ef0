"""The directories of volumes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from linkspan.runtime import volumes


def test_created_once_and_removed_for_good(tmp_path: Path) -> None:
    data = volumes.create(tmp_path / "volumes", "v")
    (data / "f").write_text("1234")
    assert volumes.create(tmp_path / "volumes", "v") == data
    assert volumes.size(tmp_path / "volumes", "v") == 4
    volumes.remove(tmp_path / "volumes", "v")
    volumes.remove(tmp_path / "volumes", "v")
    assert list((tmp_path / "volumes").iterdir()) == []
    assert volumes.size(tmp_path / "volumes", "v") == 0


@pytest.mark.root
def test_a_new_volume_begins_with_what_the_image_has(tmp_path: Path) -> None:
    lower, upper = tmp_path / "lower", tmp_path / "upper"
    (lower / "srv/data/sub").mkdir(parents=True)
    (lower / "srv/data/gone").write_text("no")
    (lower / "srv/data/sub/f").write_text("image")
    os.chown(lower / "srv/data", 999, 998)
    (lower / "srv/data").chmod(0o2750)
    os.chown(lower / "srv/data/sub/f", 5, 6)
    (lower / "srv/data/sub/f").chmod(0o4711)
    (upper / "srv/data").mkdir(parents=True)
    os.chown(upper / "srv/data", 999, 998)
    (upper / "srv/data").chmod(0o2750)
    os.mknod(upper / "srv/data/gone", 0o20000, 0)
    (upper / "var").symlink_to("/srv")
    data = volumes.create(tmp_path / "volumes", "v")
    assert volumes.copy_up([lower, upper], "/var/data", data)
    assert sorted(p.name for p in data.rglob("*")) == ["f", "sub"]
    top, file = data.stat(), (data / "sub/f").stat()
    assert (top.st_uid, top.st_gid, top.st_mode & 0o7777) == (999, 998, 0o2750)
    assert (file.st_uid, file.st_gid, file.st_mode & 0o7777) == (5, 6, 0o4711)
    (data / "sub/f").write_text("mine")
    assert not volumes.copy_up([lower, upper], "/var/data", data), "a volume that holds something is left alone"
    assert (data / "sub/f").read_text() == "mine"
    assert str(tmp_path) not in Path("/proc/self/mountinfo").read_text()


@pytest.mark.root
def test_nothing_to_begin_with(tmp_path: Path) -> None:
    layer = tmp_path / "layer"
    layer.mkdir()
    (layer / "file").write_text("")
    (layer / "dangling").symlink_to("/nowhere")
    data = volumes.create(tmp_path / "volumes", "v")
    for path in ("/none", "/file", "/dangling", "/dangling/below"):
        assert not volumes.copy_up([layer], path, data)
    assert list(data.iterdir()) == []
