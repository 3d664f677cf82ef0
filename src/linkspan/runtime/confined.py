"""A program, run by `confinement`: it reads and writes trees of files with its root directory in the tree.

    python -I -S confined.py REQUEST        REQUEST is JSON: {"do": "layer" | "unpack" | "pack" | "copy-up", …}

What comes from an archive or a container is hostile: links that lead out, `..`, files swapped for links meanwhile. A
process of its own can chroot(2) into the tree, and then there is no way out that the kernel would follow; dockerd does
the same. It also leaves the daemon's interpreter free, and can be killed.

Standard input and output carry archives. Standard error carries lines of JSON: {"at": bytes of input read}, and at the
end either the result or {"error": text, "kind": name of a class in errors.py}.

Everything is imported before the chroot, and nothing of it may load code later: that would come from the tree. Hence
`tarfile.pwd` goes: looking up names loads libraries. Only the standard library, so that it starts in 20 ms.
"""

# System calls on names and descriptors; nothing of pathlib would help.
# ruff: noqa: PTH101, PTH102, PTH103, PTH108, PTH112, PTH115, PTH208, PTH211

from __future__ import annotations

import bz2
import ctypes
import encodings.idna  # noqa: F401 - would be loaded later, from inside the tree
import errno
import hashlib
import json
import lzma
import os
import resource
import shutil
import stat
import subprocess
import sys
import tarfile
import time
import zlib
from collections.abc import Callable, Iterator
from typing import Any, Protocol

CHUNK = 1 << 18
_MOST_MEMORY = 2 << 30  # an archive's headers are read into memory, and their size is what the archive says
_WHITEOUT, _OPAQUE = ".wh.", ".wh..wh..opq"
_OPAQUE_ATTRIBUTE = "trusted.overlay.opaque"
_XATTR = "SCHILY.xattr."
_KEPT_XATTRS = ("security.capability", "user.")  # trusted.* would let an archive speak to overlayfs
_CLONE_NEWNS, _MS_REC, _MS_PRIVATE, _MS_RDONLY = 0x20000, 0x4000, 1 << 18, 1


class Refused(Exception):
    def __init__(self, kind: str, text: str) -> None:
        super().__init__(text)
        self.kind = kind


def tell(message: dict[str, Any]) -> None:
    os.write(2, json.dumps(message).encode() + b"\n")


# -- reading an archive -----------------------------------------------------------------------------------------------


class _Decompressor(Protocol):
    @property
    def eof(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes, /) -> bytes: ...


_MAGIC: tuple[tuple[bytes, Callable[[], _Decompressor]], ...] = (
    (b"\x1f\x8b", lambda: zlib.decompressobj(31)),
    (b"BZh", bz2.BZ2Decompressor),
    (b"\xfd7zXZ\x00", lzma.LZMADecompressor),
)
_ZSTD = b"\x28\xb5\x2f\xfd"


class Source:
    """Standard input, decompressed by what its first bytes say, and hashed. `read` may answer less than asked."""

    def __init__(self, *, progress: bool) -> None:
        self.hash, self.bytes, self._read, self._progress, self._told = hashlib.sha256(), 0, 0, progress, 0.0
        self._head = b""
        while len(self._head) < 6 and (more := os.read(0, 6 - len(self._head))):
            self._head += more
        self._make = next((make for magic, make in _MAGIC if self._head.startswith(magic)), None)
        self._decompressor = self._make() if self._make else None
        self._zstd = self._start_zstd() if self._head.startswith(_ZSTD) else None

    def _start_zstd(self) -> subprocess.Popen[bytes]:
        # The standard library has no zstd before 3.14. What was looked at is put back: a blob is a file.
        program = shutil.which("zstd")
        if program is None:
            raise Refused("Unsupported", "the archive is compressed with zstd: install the package zstd")
        try:
            os.lseek(0, 0, os.SEEK_SET)
        except OSError:
            raise Refused("Unsupported", "an archive compressed with zstd cannot be read from a stream") from None
        self._head = b""
        return subprocess.Popen([program, "-dcq"], stdin=0, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)

    def read(self, size: int = CHUNK) -> bytes:
        data = self._next(size)
        self.hash.update(data)
        self.bytes += len(data)
        return data

    def _next(self, size: int) -> bytes:
        if self._zstd and self._zstd.stdout:
            data = self._zstd.stdout.read(size)
            if not data and self._zstd.wait():
                raise Refused("InvalidArgument", "invalid archive: zstd cannot decompress it")
            return data
        while True:
            raw, self._head = self._head or os.read(0, size), b""
            self._count(len(raw))
            if self._decompressor is None or self._make is None:
                return raw
            if not raw:
                if not self._decompressor.eof:
                    raise Refused("InvalidArgument", "invalid archive: unexpected end of the compressed data")
                return b""
            if self._decompressor.eof:  # the next of several members, or padding after the last
                if not raw.strip(b"\0"):
                    continue
                self._decompressor = self._make()
            data = self._decompressor.decompress(raw)
            if self._decompressor.eof:
                self._head = self._decompressor.unused_data
            if data:
                return data

    def _count(self, count: int) -> None:
        self._read += count
        if self._progress and (now := time.monotonic()) - self._told > 0.1:
            self._told = now
            tell({"at": self._read})

    def drain(self) -> None:
        while self.read():
            pass


# -- unpacking --------------------------------------------------------------------------------------------------------


class Unpacker:
    """Writes an archive's members below the present directory. In a layer, whiteouts become overlayfs' own."""

    def __init__(self, *, layer: bool, no_overwrite: bool) -> None:
        self._layer, self._no_overwrite = layer, no_overwrite
        self._made_parents = {""}
        self._whiteouts: set[str] = set()
        self._directories: list[tuple[str, int]] = []
        self.size = 0  # bytes in regular files

    def unpack(self, source: Source) -> None:
        stream: Any = source  # of a file object it has the one method that tarfile calls
        with tarfile.open(
            fileobj=stream, mode="r|", bufsize=CHUNK, encoding="utf-8", errors="surrogateescape"
        ) as archive:
            for member in archive:
                self._write(archive, member)
                archive.members = []  # type: ignore[attr-defined]  # it would keep them all
        for path, stamp in reversed(self._directories):
            os.utime(path, ns=(stamp, stamp))

    def _write(self, archive: tarfile.TarFile, member: tarfile.TarInfo) -> None:
        path = _inside(member.name)
        parent, _, base = path.rpartition("/")
        if parent not in self._made_parents:
            os.makedirs(parent, 0o755, exist_ok=True)
            self._made_parents.add(parent)
        if self._layer and base.startswith(_WHITEOUT):
            self._white_out(parent or ".", base)
            return
        if member.isdir():
            self._directory(path or ".", member)
        elif not path:
            raise Refused("InvalidArgument", f'invalid archive: "{member.name}" is no name for a file')
        elif member.isreg():
            self._create(path, lambda: self._file(archive, path, member))
        elif member.issym():
            self._create(path, lambda: os.symlink(member.linkname, path))
            self._finish(path, member, mode=False)
        elif member.islnk():
            target = _inside(member.linkname)
            self._create(path, lambda: os.link(target, path, follow_symlinks=False))
        elif member.ischr() or member.isblk() or member.isfifo():
            kind = stat.S_IFIFO if member.isfifo() else stat.S_IFBLK if member.isblk() else stat.S_IFCHR
            device = 0 if member.isfifo() else os.makedev(member.devmajor, member.devminor)
            self._create(path, lambda: os.mknod(path, kind | 0o600, device))
            self._finish(path, member)

    def _create(self, path: str, create: Callable[[], None]) -> None:
        """Runs `create`; what is in its place gives way."""
        try:
            create()
        except FileExistsError:
            if stat.S_ISDIR(os.lstat(path).st_mode):
                if self._no_overwrite:
                    text = f'cannot overwrite directory "{path}" with non-directory "{path}"'
                    raise Refused("InvalidArgument", text) from None
                shutil.rmtree(path)
            else:
                os.unlink(path)
            create()

    def _file(self, archive: tarfile.TarFile, path: str, member: tarfile.TarInfo) -> None:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        try:
            content = archive.extractfile(member)
            while content and (data := content.read(CHUNK)):
                view = memoryview(data)
                while view:
                    view = view[os.write(fd, view) :]
            self.size += member.size
            os.fchown(fd, member.uid, member.gid)
            os.fchmod(fd, member.mode & 0o7777)
            _set_xattrs(fd, member)
            stamp = int(member.mtime * 1_000_000_000)
            os.utime(fd, ns=(stamp, stamp))
        finally:
            os.close(fd)

    def _directory(self, path: str, member: tarfile.TarInfo) -> None:
        try:
            os.mkdir(path, 0o700)
        except FileExistsError:
            if not stat.S_ISDIR(os.lstat(path).st_mode):
                if self._no_overwrite:
                    text = f'cannot overwrite non-directory "{path}" with directory "{path}"'
                    raise Refused("InvalidArgument", text) from None
                os.unlink(path)
                os.mkdir(path, 0o700)
                if path in self._whiteouts:  # whited out and made anew in one layer: what lies below stays hidden
                    os.setxattr(path, _OPAQUE_ATTRIBUTE, b"y")
        self._made_parents.add(path)
        os.chown(path, member.uid, member.gid)
        os.chmod(path, member.mode & 0o7777)
        _set_xattrs(path, member)
        self._directories.append((path, int(member.mtime * 1_000_000_000)))

    def _finish(self, path: str, member: tarfile.TarInfo, *, mode: bool = True) -> None:
        os.chown(path, member.uid, member.gid, follow_symlinks=False)
        if mode:
            os.chmod(path, member.mode & 0o7777)
        stamp = int(member.mtime * 1_000_000_000)
        os.utime(path, ns=(stamp, stamp), follow_symlinks=False)

    def _white_out(self, parent: str, base: str) -> None:
        if base == _OPAQUE:
            os.setxattr(parent, _OPAQUE_ATTRIBUTE, b"y")
            return
        name = base.removeprefix(_WHITEOUT)
        if name.startswith(_WHITEOUT):  # aufs' own, of no meaning here
            return
        if name in ("", ".", ".."):
            raise Refused("InvalidArgument", f'invalid archive: "{base}" names nothing to remove')
        path = name if parent == "." else f"{parent}/{name}"
        self._whiteouts.add(path)
        try:
            os.mknod(path, stat.S_IFCHR, 0)
        except FileExistsError:  # made anew in the same layer, before
            if stat.S_ISDIR(os.lstat(path).st_mode):
                os.setxattr(path, _OPAQUE_ATTRIBUTE, b"y")


def _inside(name: str) -> str:
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise Refused("InvalidArgument", f'invalid archive: "{name}" leads out of the directory it is unpacked in')
    return "/".join(parts)


def _set_xattrs(file: str | int, member: tarfile.TarInfo) -> None:
    for key, value in member.pax_headers.items():
        name = key.removeprefix(_XATTR)
        if name == key or not name.startswith(_KEPT_XATTRS):
            continue
        try:
            os.setxattr(file, name, value.encode("utf-8", "surrogateescape"))
        except OSError as error:
            if error.errno not in (errno.ENOTSUP, errno.EPERM):
                raise


# -- packing ----------------------------------------------------------------------------------------------------------


class Packer:
    """Writes an archive of a tree to `output`. Sockets are left out: they mean nothing elsewhere.

    With `layer` the tree is an overlay's upper directory, and what it says is gone becomes whiteouts.
    """

    def __init__(self, output: int, *, one_device: int | None, layer: bool = False) -> None:
        self._output, self._device, self._layer = output, one_device, layer
        self._links: dict[tuple[int, int], str] = {}

    def pack(self, path: str, name: str) -> None:
        """The tree at `path` under `name`; with an empty name what is in it, and not itself."""
        for at, as_name, found in self._walk(path, name):
            self._add(at, as_name, found)
        self._out(b"\0" * 1024)

    def _walk(self, path: str, name: str) -> Iterator[tuple[str, str, os.stat_result]]:
        pending = [(path, name)]
        while pending:
            at, as_name = pending.pop()
            try:
                found = os.lstat(at)
                inside = stat.S_ISDIR(found.st_mode) and self._device in (None, found.st_dev)
                below = sorted(os.listdir(at), reverse=True) if inside else []
            except (FileNotFoundError, NotADirectoryError):
                if at == path:
                    raise
                continue  # removed meanwhile
            if as_name and not stat.S_ISSOCK(found.st_mode):
                yield at, as_name, found
            prefix = as_name.rstrip("/") + "/" if as_name else ""
            pending += [(f"{at.rstrip('/')}/{entry}", prefix + entry) for entry in below]

    def _add(self, path: str, name: str, found: os.stat_result) -> None:
        if self._layer and stat.S_ISCHR(found.st_mode) and found.st_rdev == 0:
            parent, slash, base = name.rpartition("/")
            self._mark(f"{parent}{slash}{_WHITEOUT}{base}")
            return
        member = tarfile.TarInfo(name)
        member.mode, member.uid, member.gid = stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid
        member.mtime = int(found.st_mtime)
        mode, fd = found.st_mode, -1
        try:
            if stat.S_ISDIR(mode):
                member.type = tarfile.DIRTYPE
            elif stat.S_ISLNK(mode):
                member.type, member.linkname = tarfile.SYMTYPE, os.readlink(path)
            elif stat.S_ISREG(mode):
                inode = (found.st_dev, found.st_ino)
                if found.st_nlink > 1 and inode in self._links:
                    member.type, member.linkname = tarfile.LNKTYPE, self._links[inode]
                else:
                    self._links[inode] = name
                    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
                    member.size = os.fstat(fd).st_size
            elif stat.S_ISFIFO(mode):
                member.type = tarfile.FIFOTYPE
            else:
                member.type = tarfile.CHRTYPE if stat.S_ISCHR(mode) else tarfile.BLKTYPE
                member.devmajor, member.devminor = os.major(found.st_rdev), os.minor(found.st_rdev)
            if member.type in (tarfile.DIRTYPE, tarfile.REGTYPE):
                member.pax_headers = _xattrs(path)
        except FileNotFoundError:
            return
        try:
            form: Any = tarfile.PAX_FORMAT if member.pax_headers else tarfile.GNU_FORMAT
            self._out(member.tobuf(form, "utf-8", "surrogateescape"))
            if fd >= 0:
                self._copy(fd, member.size)
            elif self._layer and stat.S_ISDIR(mode) and _opaque(path):
                self._mark(f"{name}/{_OPAQUE}")
        finally:
            if fd >= 0:
                os.close(fd)

    def _mark(self, name: str) -> None:
        self._out(tarfile.TarInfo(name).tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape"))

    def _copy(self, fd: int, size: int) -> None:
        left = size
        while left:
            data = os.read(fd, min(CHUNK, left))
            if not data:  # it shrank meanwhile; the header has said how much comes
                data = bytes(min(CHUNK, left))
            self._out(data)
            left -= len(data)
        self._out(bytes(-size % 512))

    def _out(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self._output, view) :]


def _opaque(path: str) -> bool:
    try:
        return os.getxattr(path, _OPAQUE_ATTRIBUTE, follow_symlinks=False) == b"y"
    except OSError:
        return False


def _xattrs(path: str) -> dict[str, str]:
    try:
        names = [n for n in os.listxattr(path, follow_symlinks=False) if n.startswith(_KEPT_XATTRS)]
        return {
            _XATTR + n: os.getxattr(path, n, follow_symlinks=False).decode("utf-8", "surrogateescape") for n in names
        }
    except OSError:
        return {}


# -- what can be asked for --------------------------------------------------------------------------------------------


def enter(root: str, directory: str = "/") -> None:
    os.chroot(root)
    os.chdir("/")
    os.chdir(directory)
    os.umask(0)


def layer(request: dict[str, Any]) -> dict[str, Any]:
    """An image's layer from standard input into an empty directory."""
    source = Source(progress=True)
    enter(request["to"])
    unpacker = Unpacker(layer=True, no_overwrite=False)
    unpacker.unpack(source)
    source.drain()  # what follows the end of the archive is part of what its digest covers
    return {"diff_id": "sha256:" + source.hash.hexdigest(), "bytes": source.bytes, "size": unpacker.size}


def unpack(request: dict[str, Any]) -> dict[str, Any]:
    source = Source(progress=False)
    path = request["path"]
    try:
        enter(request["root"], path)
    except FileNotFoundError:
        raise Refused("NotFound", f"Could not find the file {path} in container") from None
    except NotADirectoryError:
        raise Refused("InvalidArgument", f"extraction point is not a directory: {path}") from None
    Unpacker(layer=False, no_overwrite=request["no_overwrite"]).unpack(source)
    source.drain()
    return {}


def pack(request: dict[str, Any]) -> dict[str, Any]:
    path = request["path"]
    enter(request["root"])
    try:
        device = os.lstat(path).st_dev if request["one_device"] else None
        Packer(1, one_device=device, layer=request.get("layer", False)).pack(path, request["name"])
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            raise
        raise Refused("NotFound", f"Could not find the file {path} in container") from None
    return {}


def copy_up(request: dict[str, Any]) -> dict[str, Any]:
    """What an image has at a path, into an empty directory: an archive from one process to another.

    The image is mounted in a mount namespace of this process, which goes with it.
    """
    target = os.open(request["to"], os.O_PATH | os.O_DIRECTORY)
    root = _mount_layers(request["layers"], request["to"])
    reader, writer = os.pipe()
    packing = os.fork()
    if packing == 0:
        os.close(reader)
        os._exit(_pack_from(root, request["path"], writer))
    os.close(writer)
    os.dup2(reader, 0)
    os.fchdir(target)
    os.chroot(".")
    os.umask(0)
    copied = False
    source = Source(progress=False)
    if source._head:
        Unpacker(layer=False, no_overwrite=False).unpack(source)
        copied = True
    source.drain()
    _, status = os.waitpid(packing, 0)
    if status:
        raise Refused("Internal", f"copying the image's {request['path']} into a volume failed")
    return {"copied": copied}


def _pack_from(root: str, path: str, output: int) -> int:
    try:
        enter(root)
        if os.path.isdir(path):
            Packer(output, one_device=None).pack(path.rstrip("/") + "/", ".")
    except OSError:
        return 1
    return 0


def _mount_layers(layers: list[str], place: str) -> str:
    """Where the image's files are; `place` is a directory that may be covered in this process's eyes."""
    if len(layers) == 1:
        return layers[0]
    libc = ctypes.CDLL(None, use_errno=True)

    def succeed(result: int) -> None:
        if result:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), place)

    succeed(libc.unshare(_CLONE_NEWNS))
    succeed(libc.mount(b"none", b"/", None, ctypes.c_ulong(_MS_REC | _MS_PRIVATE), None))
    # Opened in the new namespace: overlayfs takes no directory of another's.
    held = [os.open(layer, os.O_PATH | os.O_DIRECTORY) for layer in layers]
    data = "lowerdir=" + ":".join(f"/proc/self/fd/{fd}" for fd in held)
    succeed(libc.mount(b"overlay", os.fsencode(place), b"overlay", ctypes.c_ulong(_MS_RDONLY), data.encode()))
    for fd in held:
        os.close(fd)
    return place


VERBS = {"layer": layer, "unpack": unpack, "pack": pack, "copy-up": copy_up}


def main(argument: str) -> int:
    request = json.loads(argument)
    tarfile.pwd = tarfile.grp = None  # type: ignore[attr-defined] # see the module's docstring
    resource.setrlimit(resource.RLIMIT_AS, (_MOST_MEMORY, _MOST_MEMORY))
    try:
        result = VERBS[request["do"]](request)
    except Refused as error:
        tell({"error": str(error), "kind": error.kind})
    except BrokenPipeError:  # nobody reads any more
        tell({"error": "the stream was closed", "kind": "Internal"})
    except OSError as error:
        kind = "InvalidArgument" if error.errno in (errno.ENAMETOOLONG, errno.ENOTDIR, errno.ELOOP) else "Internal"
        where = f"{error.filename}: " if error.filename else ""
        tell({"error": f"{where}{(error.strerror or str(error)).lower()}", "kind": kind})
    except (tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, ValueError, OverflowError, MemoryError) as error:
        tell({"error": f"invalid archive: {error or type(error).__name__}", "kind": "InvalidArgument"})
    else:
        tell(result)
        return 0
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
