"""`cp`: files between a container and this machine, as tar streams."""

# ruff: noqa: PTH100, PTH110, PTH112, PTH114, PTH118, PTH119, PTH120
# os.path throughout: a trailing `/` or `/.` means something here, and pathlib drops it.

from __future__ import annotations

import base64
import json
import os
import posixpath
import sys
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

from linkspan.cli import words
from linkspan.cli.client import PIECE, Client
from linkspan.cli.failure import EngineError, Failure
from linkspan.cli.flags import Invocation, Verb, switch

DIRECTORY = 1 << 31  # Go's os.ModeDir
LINK = 1 << 27  # Go's os.ModeSymlink


def run(call: Invocation) -> int:
    source, target = call.arguments
    if not source:
        raise Failure("source can not be empty")
    if not target:
        raise Failure("destination can not be empty")
    from_container, from_path = split(source)
    to_container, to_path = split(target)
    if from_container and to_container:
        raise Failure("copying between containers is not supported")
    if from_container:
        _fetch(call, from_container, from_path, to_path)
    elif to_container:
        _send(call, from_path, to_container, to_path)
    else:
        raise Failure("must specify at least one container source")
    return 0


def split(text: str) -> tuple[str, str]:
    """`name:/path` → (name, path); a path of this machine has no name. A leading `.` or `/` makes it one."""
    if text.startswith(("/", ".")) or ":" not in text:
        return "", text
    name, _, path = text.partition(":")
    return (name, path) if name and "/" not in name else ("", text)


def _stat(client: Client, container: str, path: str) -> dict[str, Any]:
    """Docker's description of a path in a container: name, size, mode (Go's bits), linkTarget. Raises EngineError."""
    response = client.request("HEAD", f"/containers/{container}/archive", {"path": path}, own=True)
    response.close()
    decoded: dict[str, Any] = json.loads(base64.b64decode(response.headers["x-docker-container-path-stat"]))
    return decoded


def _fetch(call: Invocation, container: str, source: str, target: str) -> None:
    source = source or "/"
    if call.line.on("follow-link"):
        stat = _stat(call.client, container, source)
        if stat.get("mode", 0) & LINK and stat.get("linkTarget"):
            source = posixpath.join(posixpath.dirname(source), stat["linkTarget"])
    if target != "-":
        _check_parent(target)
    response = call.client.request("GET", f"/containers/{container}/archive", {"path": source}, own=True)
    if target == "-":
        for piece in response.pieces():
            sys.stdout.buffer.write(piece)
        sys.stdout.buffer.flush()
        return
    stat = json.loads(base64.b64decode(response.headers["x-docker-container-path-stat"]))
    folder = bool(stat.get("mode", 0) & DIRECTORY)
    place, name = _place(target, source, stat["name"], folder=folder)
    size = _extract(response.pieces(), place, stat["name"], name)
    _tell(call, f"Successfully copied {words.size(size, digits=3)} to {os.path.abspath(target)}")


def _tell(call: Invocation, text: str) -> None:
    """On a terminal only, where --quiet does not say either way."""
    if not (call.line.on("quiet") if call.line.given("quiet") else not os.isatty(1)):
        print(text, file=sys.stderr)


def _check_parent(target: str) -> None:
    parent = os.path.dirname(os.path.abspath(target)) if not target.endswith("/") else target
    if not os.path.isdir(parent):
        raise Failure(f'invalid output path: directory "{parent}" does not exist')


def _place(target: str, source: str, name: str, *, folder: bool) -> tuple[str, str]:
    """(the folder to unpack into, the name that the archive's first entry gets; "" for only its contents)."""
    contents = source.endswith("/.")
    if os.path.isdir(target):
        return target, "" if contents and folder else name
    if target.endswith("/") and not folder:
        raise Failure(f"destination directory must exist: {target}")
    if os.path.exists(target) and folder:
        raise Failure("cannot copy directory to a file")
    absolute = os.path.abspath(target)
    return os.path.dirname(absolute), os.path.basename(absolute)


def _extract(pieces: Iterator[bytes], place: str, first: str, name: str) -> int:
    """Unpacks, renaming the topmost entry; the bytes of the files."""
    size = 0
    with tarfile.open(fileobj=cast(BinaryIO, _Pieces(pieces)), mode="r|") as archive:
        # Ours is asked below: Debian 12's Python knows no filters yet, and newer ones would use a stricter one.
        archive.extraction_filter = lambda member, _: member
        for member in archive:
            rest = member.name.rstrip("/")
            if rest == first or rest.startswith(f"{first}/"):
                rest = posixpath.join(name, rest[len(first) :].lstrip("/"))
            else:
                rest = posixpath.join(name, rest) if first in (".", "/") else rest
            rest = rest.strip("/")
            if member.islnk():
                member.linkname = posixpath.join(name, member.linkname.removeprefix(first).lstrip("/"))
            if not rest or rest == ".":
                continue
            member.name = rest
            size += member.size
            # Owners are the container's and mean nothing here; absolute names and `..` are refused.
            if trusted := _trusted(member, place):
                archive.extract(trusted, place, set_attrs=True)
    return size


def _trusted(member: tarfile.TarInfo, place: str) -> tarfile.TarInfo | None:
    """Keeps what lies within `place`; links may point anywhere, as they do in a container."""
    target = os.path.realpath(os.path.join(place, member.name))
    if os.path.commonpath([target, os.path.realpath(place)]) != os.path.realpath(place) and not member.issym():
        raise Failure(f"the archive names a file outside of {place}: {member.name}")
    if member.ischr() or member.isblk():
        return None
    if os.geteuid() != 0:
        member.uid, member.gid = os.getuid(), os.getgid()
    member.uname = member.gname = ""
    return member


def _send(call: Invocation, source: str, container: str, target: str) -> None:
    client = call.client
    try:
        stat = _stat(client, container, target)
    except EngineError as error:
        if error.http_status != 404 or "No such container" in error.reason:
            # A HEAD has no body to say why: the container itself can.
            client.get(f"/containers/{container}/json")
            raise
        client.get(f"/containers/{container}/json")
        stat = {}
    if stat.get("mode", 0) & LINK and stat.get("linkTarget"):
        target = posixpath.join(posixpath.dirname(target), stat["linkTarget"])
        try:
            stat = _stat(client, container, target)
        except EngineError:
            stat = {}
    is_folder = bool(stat.get("mode", 0) & DIRECTORY)
    query = {"noOverwriteDirNonDir": "true", "copyUIDGID": "true" if call.line.on("archive") else None}
    if source == "-":
        if not is_folder:
            raise Failure(f'destination "{container}:{target}" must be a directory')
        content, size = _read(sys.stdin.buffer), 0
        place = target
    else:
        place, content, size = _packed(call, source, target, exists=bool(stat), is_folder=is_folder)
    client.request(
        "PUT", f"/containers/{container}/archive", {"path": place, **query},
        headers={"Content-Type": "application/x-tar"}, content=content,
    ).close()  # fmt: skip
    _tell(call, f"Successfully copied {words.size(size, digits=3)} to {container}:{target}")


def _packed(
    call: Invocation, source: str, target: str, *, exists: bool, is_folder: bool
) -> tuple[str, Iterator[bytes], int]:
    """(the folder to unpack into, the archive, the bytes of its files)."""
    path = os.path.realpath(source) if call.line.on("follow-link") else os.path.abspath(source)
    if not os.path.lexists(path):
        raise Failure(f"lstat {path}: no such file or directory")
    folder = os.path.isdir(path) and not os.path.islink(path)
    if is_folder:
        place = target
        name = "." if folder and source.rpartition("/")[2] == "." else os.path.basename(path)
    else:
        if exists and folder:
            raise Failure("cannot copy directory to a file")
        if not exists and not folder and target.endswith("/"):
            raise Failure("no such directory")
        clean = target.rstrip("/")
        place, name = posixpath.dirname(clean) or "/", posixpath.basename(clean)
    size = sum(file.lstat().st_size for file in [Path(path), *Path(path).rglob("*")] if file.is_file())
    return place, _archive(path, name), size


def _archive(path: str, name: str) -> Iterator[bytes]:
    """The file or folder as a tar stream, written by a thread of its own into a pipe."""
    reading, writing = os.pipe()
    errors: list[BaseException] = []

    def write() -> None:
        try:
            with os.fdopen(writing, "wb") as file, tarfile.open(fileobj=file, mode="w|") as archive:
                archive.add(path, arcname=name)
        except OSError as error:
            errors.append(error)

    thread = threading.Thread(target=write, daemon=True)
    thread.start()
    with os.fdopen(reading, "rb") as file:
        yield from _read(file)
    thread.join()
    if errors:
        raise Failure(str(errors[0]))


def _read(file: BinaryIO) -> Iterator[bytes]:
    while piece := file.read(PIECE):
        yield piece


class _Pieces:
    """The pieces of a body as a file that tarfile can read."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._buffer = b""

    def read(self, size: int) -> bytes:
        while len(self._buffer) < size:
            piece = next(self._pieces, b"")
            if not piece:
                break
            self._buffer += piece
        result, self._buffer = self._buffer[:size], self._buffer[size:]
        return result


VERB = Verb(
    "[OPTIONS] CONTAINER:SRC_PATH DEST_PATH|- | SRC_PATH|- CONTAINER:DEST_PATH",
    "Copy files between a container and this machine. A tar archive on standard input or output is `-`.",
    run,
    (
        switch("archive", "a", "Keep owners"),
        switch("follow-link", "L", "Copy what a symbolic link points to"),
        switch("quiet", "q", "Say nothing about what was copied"),
    ),
    least=2,
    most=2,
)
