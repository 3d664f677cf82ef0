"""Files in and out of a root file system: names, modes, hostile archives, differences."""

from __future__ import annotations

import asyncio
import gzip
import io
import os
import stat
import tarfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from linkspan.errors import InvalidArgument, LinkspanError, NotFound
from linkspan.runtime import archive, rootfs

pytestmark = pytest.mark.root


@pytest.fixture
def root(tmp_path: Path) -> Path:
    place = tmp_path / "root"
    (place / "dir/sub").mkdir(parents=True)
    (place / "dir/file").write_text("text")
    os.chown(place / "dir/file", 7, 8)
    (place / "dir/file").chmod(0o4755)
    os.link(place / "dir/file", place / "dir/sub/again")
    (place / "link").symlink_to("/dir")
    os.mkfifo(place / "fifo")
    (tmp_path / "outside").mkdir()
    return place


def packed(*members: tuple[str, bytes | str, int]) -> bytes:
    """A tar of (name, content or link target, type)."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content, kind in members:
            member = tarfile.TarInfo(name)
            member.type, member.mode, member.uid, member.gid = bytes([kind]), 0o644, 3, 4
            if isinstance(content, str):
                member.linkname = content
                tar.addfile(member)
            else:
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


FILE, HARD, LINK, DIRECTORY = (t[0] for t in (tarfile.REGTYPE, tarfile.LNKTYPE, tarfile.SYMTYPE, tarfile.DIRTYPE))


async def pieces(content: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(content), 1000):
        yield content[start : start + 1000]


def take(root: Path, path: str) -> tarfile.TarFile:
    async def all_of() -> bytes:
        return b"".join([piece async for piece in archive.get(root, path)])

    return tarfile.open(fileobj=io.BytesIO(asyncio.run(all_of())))


def put(root: Path, path: str, content: bytes, *, no_overwrite: bool = False) -> None:
    asyncio.run(archive.put(root, path, pieces(content), no_overwrite=no_overwrite, copy_owner=False))


@pytest.mark.parametrize(
    ("path", "names"),
    [
        ("/dir", ["dir", "dir/file", "dir/sub", "dir/sub/again"]),
        ("dir/", ["dir", "dir/file", "dir/sub", "dir/sub/again"]),
        ("/dir/.", [".", "./file", "./sub", "./sub/again"]),
        ("/dir/../dir/file", ["file"]),
        ("/link", ["link"]),
        ("/link/", ["link", "link/file", "link/sub", "link/sub/again"]),
        ("/fifo", ["fifo"]),
    ],
)
def test_names_are_as_docker_gives_them(root: Path, path: str, names: list[str]) -> None:
    assert take(root, path).getnames() == names


def test_what_is_kept(root: Path) -> None:
    (root / "dir/long").mkdir()
    (root / "dir/long" / ("n" * 200)).write_bytes(b"x" * 300_000)
    os.setxattr(root / "dir/file", "user.note", b"kept")
    tar = take(root, "/dir")
    file, again, long = (
        tar.getmember("dir/file"),
        tar.getmember("dir/sub/again"),
        tar.getmember(f"dir/long/{'n' * 200}"),
    )
    assert (file.uid, file.gid, file.mode, file.uname) == (7, 8, 0o4755, "")
    assert file.pax_headers["SCHILY.xattr.user.note"] == "kept"
    assert (again.islnk(), again.linkname) == (True, "dir/file")
    content = tar.extractfile(long)
    assert content and content.read() == b"x" * 300_000


def test_export_is_the_whole(root: Path) -> None:
    async def all_of() -> bytes:
        return b"".join([piece async for piece in archive.export(root)])

    with tarfile.open(fileobj=io.BytesIO(asyncio.run(all_of()))) as tar:
        names = tar.getnames()
    assert names == ["dir", "dir/file", "dir/sub", "dir/sub/again", "fifo", "link"]


def test_a_client_that_goes_away_ends_the_process(root: Path) -> None:
    (root / "big").write_bytes(bytes(30_000_000))

    async def one_piece() -> None:
        stream = archive.get(root, "/big")
        assert await anext(stream)
        await stream.aclose()  # type: ignore[attr-defined]

    asyncio.run(one_piece())
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    assert not [c for c in children if b"confined" in Path(f"/proc/{c}/cmdline").read_bytes()]


def test_the_stat_header(root: Path) -> None:
    os.utime(root / "dir/file", ns=(0, 1_700_000_000_500_000_000))
    assert asyncio.run(archive.stat(root, "/dir/file")) == {
        "name": "file",
        "size": 4,
        "mode": (1 << 23) | 0o755,
        "mtime": "2023-11-14T22:13:20.5Z",
        "linkTarget": "",
    }
    link = asyncio.run(archive.stat(root, "/link"))
    assert (link["linkTarget"], link["mode"]) == ("/dir", (1 << 27) | 0o777)
    assert asyncio.run(archive.stat(root, "/link/."))["mode"] == (1 << 31) | 0o755
    assert asyncio.run(archive.stat(root, "/"))["name"] == "/"


@pytest.mark.parametrize("path", ["/none", "/dir/file/below", "/link/none"])
def test_nothing_there(root: Path, path: str) -> None:
    with pytest.raises(NotFound, match=f"Could not find the file {path} in container"):
        take(root, path)
    with pytest.raises(NotFound):
        asyncio.run(archive.stat(root, path))


def test_links_lead_nowhere_outside(root: Path) -> None:
    (root / "etc").symlink_to("/../../../../../../etc")
    (root / "escape").symlink_to("../../outside")
    for path in ("/etc/hostname", "/escape/.", "/escape/"):
        with pytest.raises(NotFound):
            take(root, path)
    with pytest.raises(NotFound):
        put(root, "/escape", packed(("f", b"x", FILE)))


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_putting(root: Path, pack: type[bytes]) -> None:
    put(
        root,
        "/link",
        pack(packed(("new/deep/f", b"x" * 5000, FILE), ("new/l", "deep/f", LINK), ("h", "new/deep/f", HARD))),
    )
    found = (root / "dir/new/deep/f").stat()
    assert (found.st_uid, found.st_gid, found.st_size, found.st_nlink) == (3, 4, 5000, 2)
    assert (root / "dir/new/l").readlink() == Path("deep/f")


def test_putting_over_what_is_there(root: Path) -> None:
    put(root, "/", packed(("dir/file", b"changed", FILE), ("dir/sub", b"now a file", FILE)))
    assert (root / "dir/file").read_text() == "changed"
    assert (root / "dir/sub").read_text() == "now a file"
    with pytest.raises(InvalidArgument, match="cannot overwrite directory"):
        put(root, "/", packed(("dir", b"", FILE)), no_overwrite=True)
    with pytest.raises(InvalidArgument, match="cannot overwrite non-directory"):
        put(root, "/dir", packed(("file", b"", DIRECTORY)), no_overwrite=True)


def test_putting_where_no_directory_is(root: Path) -> None:
    with pytest.raises(InvalidArgument, match="not a directory"):
        put(root, "/dir/file", packed(("f", b"", FILE)))
    with pytest.raises(NotFound):
        put(root, "/none", packed(("f", b"", FILE)))


@pytest.mark.parametrize(
    "content",
    [
        packed(("../f", b"x", FILE)),
        packed(("a/../../f", b"x", FILE)),
        packed(("hard", "../outside/secret", HARD)),
        packed(("", b"x", FILE)),
        packed(("n" * 5000, b"", FILE)),
        b"no archive" * 200,
        gzip.compress(packed(("f", b"x", FILE)))[:-20],
    ],
)
def test_hostile_and_broken_archives_are_refused(root: Path, content: bytes) -> None:
    with pytest.raises(InvalidArgument):
        put(root, "/dir", content)
    assert list((root.parent / "outside").iterdir()) == []
    assert not (root / "f").exists()


def test_a_link_in_the_archive_leads_nowhere_outside(root: Path, tmp_path: Path) -> None:
    put(root, "/dir", packed(("out", "../../outside", LINK), ("abs", str(tmp_path / "outside"), LINK)))
    for name in ("out", "abs"):
        with pytest.raises(LinkspanError):
            put(root, "/dir", packed((f"{name}/f", b"x", FILE)))
    assert list((tmp_path / "outside").iterdir()) == []


@pytest.fixture
def written(tmp_path: Path) -> Iterator[tuple[Path, list[Path]]]:
    """A container's folder, mounted on two layers; the upper one hides a file of the lower."""
    lower, upper, folder = tmp_path / "lower", tmp_path / "upper", tmp_path / "c"
    (lower / "d/e").mkdir(parents=True)
    for name in ("a", "b", "d/x", "d/e/y", "hidden"):
        (lower / name).write_text(name)
    upper.mkdir()
    os.mknod(upper / "hidden", stat.S_IFCHR, 0)
    folder.mkdir()
    rootfs.mount(folder, [lower, upper])
    yield folder, [lower, upper]
    rootfs.remove(folder)


def test_differences(written: tuple[Path, list[Path]]) -> None:
    folder, layers = written
    merged = folder / "merged"
    assert archive.changes(folder / "diff", layers) == []
    (merged / "a").write_text("changed")
    (merged / "b").unlink()
    (merged / "hidden").write_text("anew")
    (merged / "new/dir").mkdir(parents=True)
    (merged / "d/e/y").chmod(0o600)
    (merged / "etc/hosts").write_text("127.0.0.1 me")
    assert archive.changes(folder / "diff", layers) == [
        (archive.MODIFIED, "/a"),
        (archive.DELETED, "/b"),
        (archive.MODIFIED, "/d"),
        (archive.MODIFIED, "/d/e"),
        (archive.MODIFIED, "/d/e/y"),
        (archive.MODIFIED, "/etc"),
        (archive.MODIFIED, "/etc/hosts"),
        (archive.ADDED, "/hidden"),
        (archive.ADDED, "/new"),
        (archive.ADDED, "/new/dir"),
    ]


def test_a_directory_made_anew_hides_what_was_below(written: tuple[Path, list[Path]]) -> None:
    folder, layers = written
    merged = folder / "merged"
    for name in ("d/x", "d/e/y"):
        (merged / name).unlink()
    (merged / "d/e").rmdir()
    (merged / "d").rmdir()
    (merged / "d").mkdir()
    (merged / "d/x").write_text("other")
    assert archive.changes(folder / "diff", layers) == [
        (archive.MODIFIED, "/d"),
        (archive.DELETED, "/d/e"),
        (archive.MODIFIED, "/d/x"),
    ]
