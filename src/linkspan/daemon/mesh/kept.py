"""What this host keeps of its mesh on its disk: with it, it comes back without a token and without asking anybody.

    mesh/mesh.json      which mesh, this host's addresses in it, the members of the store, and its own one
    mesh/host.key       this host's own
    mesh/ca.pem, .key   the mesh's first authority; every host may let others in, so every host has it
    mesh/host.pem       what this host shows others, made by that authority
    mesh/revoked.crl    the certificates of hosts that were taken out
    mesh/authority-N/   the last three, of the authority of number N that came after it
    mesh/etcd/          this host's member of the store

Which authority is in force is said in mesh.json: so with one file everything changes.

The other hosts are records, as they are in every cluster.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import msgspec

from linkspan.errors import Conflict
from linkspan.model.wire import Wire


class Own(Wire, frozen=True, kw_only=True):
    """`private_key` is WireGuard's, in base64. `members` are the store's, `ADDRESS:PORT`. Of this host's own member:
    with which others it began ("" where there is none, and how etcd calls the rest), and its id once that is known.
    `authority` is the number of the mesh's authority that is in force here, `held` that of one to come of which this
    host has the key already (engine/mesh/authorities.py)."""

    mesh_id: str
    host_id: str
    address: str
    address6: str
    private_key: str
    members: tuple[str, ...] = ()
    began_with: str = ""
    began_new: bool = False
    member_id: str = ""
    certificates: tuple[str, ...] = ()  # serial numbers of this host's own, the newest first
    revoked: tuple[str, ...] = ()  # of those that are in the list of revoked ones
    authority: int = 0
    held: int = 0

    @property
    def newest(self) -> int:
        """Of the authorities that this host has the key of."""
        return max(self.authority, self.held)


class Kept:
    """The folder, and in it what is of one authority. Files are written whole or not at all, and nobody else may read
    them."""

    def __init__(self, data_root: Path, number: int = 0) -> None:
        self._data_root, self.folder = data_root, data_root / "mesh"
        self.number = number  # of the authority

    def of(self, number: int) -> Kept:
        return Kept(self._data_root, number)

    @property
    def _by_authority(self) -> Path:
        return self.folder / f"authority-{self.number}" if self.number else self.folder

    @property
    def authority(self) -> Path:
        return self._by_authority / "ca.pem"

    @property
    def authority_key(self) -> Path:
        return self._by_authority / "ca.key"

    @property
    def certificate(self) -> Path:
        return self._by_authority / "host.pem"

    @property
    def key(self) -> Path:
        return self.folder / "host.key"

    @property
    def revoked(self) -> Path:
        return self._by_authority / "revoked.crl"

    @property
    def store(self) -> Path:
        """The folder of this host's member."""
        return self.folder / "etcd"

    def read(self) -> Own | None:
        """None where this host is in no mesh. Raises Conflict where the file is not what it was."""
        try:
            return msgspec.json.decode(self._own.read_bytes(), type=Own)
        except FileNotFoundError:
            return None
        except msgspec.MsgspecError as error:
            raise Conflict(f"{self._own}: this is not what linkspan has written: {error}") from None

    def write(self, own: Own) -> None:
        self.put(self._own, msgspec.json.format(msgspec.json.encode(own)) + b"\n")

    def put(self, path: Path, content: bytes) -> None:
        """Also after a power cut there is the old content or the new one."""
        for made in (self.folder, path.parent):
            made.mkdir(mode=0o700, parents=True, exist_ok=True)
        new = path.with_name(path.name + ".new")
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            os.write(descriptor, content)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        new.replace(path)
        for changed in {self.folder, path.parent}:
            folder = os.open(changed, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)

    def forget_others(self, held: int) -> None:
        """What is of other authorities than this one and that of this number."""
        for folder in self.folder.glob("authority-*"):
            if folder not in (self._by_authority, self.of(held)._by_authority):
                shutil.rmtree(folder, ignore_errors=True)
        if self.number:
            first = self.of(0)
            for path in (first.authority_key, first.authority, first.certificate, first.revoked):
                path.unlink(missing_ok=True)

    @property
    def _own(self) -> Path:
        return self.folder / "mesh.json"
