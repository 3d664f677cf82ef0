"""Overlay mounts, and paths that stay inside."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from linkspan.errors import Internal, NotFound, Unsupported
from linkspan.runtime import rootfs


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "container"
    place.mkdir()
    yield place
    rootfs.remove(place)
    assert str(tmp_path) not in Path("/proc/self/mountinfo").read_text()


def layer(place: Path, files: dict[str, str]) -> Path:
    place.mkdir(parents=True)
    for name, text in files.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text(text)
    return place


@pytest.mark.root
def test_layers_are_seen_through_and_never_written(tmp_path: Path, folder: Path) -> None:
    layers = [layer(tmp_path / "1", {"a": "1", "b": "1"}), layer(tmp_path / "2", {"b": "2"})]
    merged = rootfs.mount(folder, layers)
    assert rootfs.is_mounted(folder)
    assert ((merged / "a").read_text(), (merged / "b").read_text()) == ("1", "2")
    (merged / "a").write_text("changed")
    assert (layers[0] / "a").read_text() == "1"
    assert rootfs.mount(folder, layers) == merged, "mounted already is success"
    rootfs.unmount(folder)
    rootfs.unmount(folder)
    assert not rootfs.is_mounted(folder)
    assert (rootfs.mount(folder, layers) / "a").read_text() == "changed"
    assert rootfs.sizes(folder, layers) == (len("changed"), len("changed") + 3)
    rootfs.remove(folder)
    assert not folder.exists()


@pytest.mark.root
def test_what_a_container_needs_to_start_is_there_and_is_no_change(tmp_path: Path, folder: Path) -> None:
    image = layer(tmp_path / "1", {"etc/passwd": ""})
    (image / "etc").chmod(0o751)
    (image / "etc/resolv.conf").symlink_to("/run/nowhere")
    (image / "proc").write_text("not a directory")
    merged = rootfs.mount(folder, [image])
    for name in ("proc", "sys", "dev/pts", "dev/shm"):
        assert (merged / name).is_dir()
    for name in ("etc/hosts", "etc/hostname", "etc/resolv.conf", "dev/console", ".dockerenv"):
        assert (merged / name).is_file() and not (merged / name).is_symlink()
    assert (merged / "etc/mtab").readlink() == Path("/proc/mounts")
    assert (merged / "etc").stat().st_mode & 0o777 == 0o751
    assert list((folder / "diff").iterdir()) == []


@pytest.mark.root
def test_an_image_without_layers(folder: Path) -> None:
    assert (rootfs.mount(folder, []) / "etc/hosts").is_file()


@pytest.mark.root
def test_more_layers_than_a_page_of_options_has_room_for(tmp_path: Path, folder: Path) -> None:
    layers = [layer(tmp_path / f"{'x' * 60}{number}", {f"f{number}": ""}) for number in range(127)]
    merged = rootfs.mount(folder, layers)
    assert all((merged / f"f{number}").exists() for number in range(127))


@pytest.mark.root
def test_names_that_mean_something_to_mount(tmp_path: Path) -> None:
    place = tmp_path / "a:b,c"
    place.mkdir()
    try:
        assert (rootfs.mount(place, [layer(tmp_path / "l:1,2", {"f": ""})]) / "f").exists()
    finally:
        rootfs.remove(place)


@pytest.mark.root
def test_a_data_root_on_an_overlay_is_named(tmp_path: Path, folder: Path) -> None:
    outer = rootfs.mount(folder, [layer(tmp_path / "1", {"f": ""})])
    inner = outer / "var"
    inner.mkdir()
    with pytest.raises(Unsupported, match="--data-root"):
        rootfs.mount(inner, [layer(outer / "layer", {"f": ""})])
    rootfs.unmount(inner)


@pytest.mark.root
def test_a_layer_that_is_gone_is_named(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(Internal, match="gone"):
        rootfs.mount(folder, [tmp_path / "missing"])
    assert not rootfs.is_mounted(folder)


def test_nothing_there_is_success(tmp_path: Path) -> None:
    assert not rootfs.is_mounted(tmp_path / "none")
    if os.geteuid() == 0:
        rootfs.remove(tmp_path / "none")


@pytest.mark.parametrize(
    ("path", "inside"),
    [
        ("/", ""),
        ("", ""),
        ("a/b", "a/b"),
        ("/../../etc/passwd", "etc/passwd"),
        ("out/passwd", "etc/passwd"),
        ("up/passwd", "etc/passwd"),
        ("chain/x", "a/x"),
        ("not/there/yet", "not/there/yet"),
        ("out", "etc"),
    ],
)
def test_paths_never_lead_out(tmp_path: Path, path: str, inside: str) -> None:
    root = tmp_path / "root"
    (root / "a").mkdir(parents=True)
    (root / "out").symlink_to("/etc")
    (root / "a/up").symlink_to("../../../../etc")
    (root / "up").symlink_to("a/up")
    (root / "chain").symlink_to("chain2")
    (root / "chain2").symlink_to("/a")
    assert rootfs.resolve_in_root(root, path) == (root / inside if inside else root)


def test_the_last_link_itself_and_a_loop(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("elsewhere")
    (tmp_path / "loop").symlink_to("loop")
    assert rootfs.resolve_in_root(tmp_path, "link", follow_last=False) == tmp_path / "link"
    with pytest.raises(NotFound):
        rootfs.resolve_in_root(tmp_path, "loop/x")


def test_opening_follows_links_inside_only(tmp_path: Path) -> None:
    root = layer(tmp_path / "root", {"etc/secret": "inside"})
    (root / "link").symlink_to("/etc/secret")
    (tmp_path / "etc").mkdir()
    fd = rootfs.open_in_root(root, "/../link", os.O_RDONLY)
    try:
        assert os.read(fd, 10) == b"inside"
    finally:
        os.close(fd)
    with pytest.raises(FileNotFoundError):
        rootfs.open_in_root(root, "/none", os.O_RDONLY)


def test_sizes_count_a_hard_link_once(tmp_path: Path) -> None:
    place = layer(tmp_path / "l", {"d/a": "12345"})
    os.link(place / "d/a", place / "b")
    (place / "s").symlink_to("/etc/passwd")
    assert rootfs.tree_size(place) == 5
    shutil.rmtree(place)
    assert rootfs.tree_size(place) == 0
