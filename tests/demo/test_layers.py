"""Layers from directories: what an overlay's upper directory says is deleted becomes a whiteout."""

import json
import os
import stat
import tarfile
from pathlib import Path

import pytest
from demo.layers import Layout


@pytest.mark.root  # an overlay, as /tmp often is, lets nobody make a whiteout
def test_deletions_become_whiteouts_and_left_out_paths_stay_away(tmp_path: Path) -> None:
    tree = tmp_path / "upper"
    (tree / "etc").mkdir(parents=True)
    (tree / "etc/kept").write_text("kept")
    os.link(tree / "etc/kept", tree / "etc/same")
    (tree / "etc/link").symlink_to("kept")
    os.mknod(tree / "etc/gone", stat.S_IFCHR, 0)
    (tree / "usr/share/doc/deep").mkdir(parents=True)
    layout = Layout(tmp_path / "oci")

    layer = layout.add_layer(tree, "test", leave_out=("usr/share/doc",))

    with tarfile.open(tmp_path / "oci/blobs/sha256" / layer.digest.removeprefix("sha256:")) as tar:
        members = {member.name: member for member in tar}
        assert set(members) == {"etc", "etc/kept", "etc/same", "etc/link", "etc/.wh.gone", "usr", "usr/share"}
        assert members["etc/same"].islnk() and members["etc/same"].linkname == "etc/kept"
        assert members["etc/link"].linkname == "kept"


def test_an_image_is_named_by_each_of_its_tags(tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    layout = Layout(tmp_path / "oci")
    layer = layout.add_layer(tmp_path / "tree", "test")

    layout.add_image("mysql", ["latest", "8"], [layer], {"Cmd": ["mysqld"]}, "2026-01-01T00:00:00Z", "amd64")

    index = json.loads((tmp_path / "oci/index.json").read_text())
    names = [one["annotations"]["org.opencontainers.image.ref.name"] for one in index["manifests"]]
    assert names == ["mysql:latest", "mysql:8"]
    manifest = json.loads((tmp_path / "oci/blobs/sha256" / index["manifests"][0]["digest"][7:]).read_text())
    assert [entry["digest"] for entry in manifest["layers"]] == [layer.digest]
