"""Docker's rules for --user and --group-add, against files as a container may have (or forge) them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linkspan.errors import LinkspanError
from linkspan.runtime.users import Identity, read_inside, resolve

PASSWD = """root:x:0:0:root:/root:/bin/sh
# a comment
daemon:x:1:1::/usr/sbin:/bin/false

app:x:1000:1000:App:/home/app:/bin/sh
7:x:2000:2000::/seven:
nohome:x:3000:3000:::
"""
GROUP = """root:x:0:
wheel:x:10:app,other
app:x:1000:
staff:x:50:app
lonely:x:60:
"""


@pytest.fixture
def rootfs(tmp_path: Path) -> Path:
    (tmp_path / "rootfs/etc").mkdir(parents=True)
    (tmp_path / "rootfs/etc/passwd").write_text(PASSWD)
    (tmp_path / "rootfs/etc/group").write_text(GROUP)
    return tmp_path / "rootfs"


@pytest.mark.parametrize(
    ("user", "extra", "expected"),
    [
        ("", (), Identity(uid=0, gid=0, groups=(0,), home="/root")),
        ("root", (), Identity(uid=0, gid=0, groups=(0,), home="/root")),
        ("app", (), Identity(uid=1000, gid=1000, groups=(1000, 10, 50), home="/home/app")),
        ("1000", (), Identity(uid=1000, gid=1000, groups=(1000, 10, 50), home="/home/app")),
        ("app:staff", (), Identity(uid=1000, gid=50, groups=(50,), home="/home/app")),
        ("app:4242", (), Identity(uid=1000, gid=4242, groups=(4242,), home="/home/app")),
        ("4242", (), Identity(uid=4242, gid=0, groups=(0,), home="/")),
        ("4242:60", (), Identity(uid=4242, gid=60, groups=(60,), home="/")),
        (":60", (), Identity(uid=0, gid=60, groups=(60,), home="/root")),
        ("7", (), Identity(uid=7, gid=0, groups=(0,), home="/")),  # digits are a number, not a name
        ("nohome", (), Identity(uid=3000, gid=3000, groups=(3000,), home="/")),
        ("app", ("lonely", "99", "10"), Identity(uid=1000, gid=1000, groups=(1000, 10, 50, 60, 99), home="/home/app")),
    ],
)
def test_resolve(rootfs: Path, user: str, extra: tuple[str, ...], expected: Identity) -> None:
    assert resolve(rootfs, user, extra) == expected


@pytest.mark.parametrize(
    ("user", "extra", "text"),
    [
        ("nobody", (), "unable to find user nobody: no matching entries in passwd file"),
        ("app:none", (), "unable to find group none: no matching entries in group file"),
        ("app", ("none",), "Unable to find group none"),
        ("4294967295", (), "uids and gids must be in range 0-2147483647"),
    ],
)
def test_unknown(rootfs: Path, user: str, extra: tuple[str, ...], text: str) -> None:
    with pytest.raises(LinkspanError) as error:
        resolve(rootfs, user, extra)
    assert str(error.value) == text


def test_image_without_files(tmp_path: Path) -> None:
    assert resolve(tmp_path, "") == Identity(groups=(0,))
    assert resolve(tmp_path, "5:6") == Identity(uid=5, gid=6, groups=(6,))


def test_links_do_not_lead_out_of_the_root_file_system(tmp_path: Path, rootfs: Path) -> None:
    (tmp_path / "secret").write_text("evil:x:6:6::/:")
    passwd = rootfs / "etc/passwd"
    for target in ("../../secret", f"{tmp_path}/secret", "/proc/self/root/etc/passwd"):
        passwd.unlink()
        passwd.symlink_to(target)
        assert read_inside(rootfs, "/etc/passwd") == ""
    passwd.unlink()
    passwd.symlink_to("/etc/real")  # absolute, inside
    (rootfs / "etc/real").write_text(PASSWD)
    assert resolve(rootfs, "app").uid == 1000


def test_what_is_no_file_is_not_waited_for(rootfs: Path) -> None:
    (rootfs / "etc/passwd").unlink()
    os.mkfifo(rootfs / "etc/passwd")
    assert read_inside(rootfs, "/etc/passwd") == ""
    assert read_inside(rootfs, "/etc") == ""


@given(st.text(), st.text())
def test_only_our_errors_escape(tmp_path_factory: pytest.TempPathFactory, text: str, user: str) -> None:
    rootfs = tmp_path_factory.mktemp("rootfs")
    (rootfs / "etc").mkdir()
    for name in ("passwd", "group"):
        (rootfs / "etc" / name).write_text(text, errors="surrogatepass")
    try:
        identity = resolve(rootfs, user)
    except LinkspanError:
        return
    assert 0 <= identity.uid < 2**31 and 0 <= identity.gid < 2**31
