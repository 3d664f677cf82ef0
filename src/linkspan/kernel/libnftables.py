"""libnftables in this process: some 0.1 ms a change, where the `nft` command takes 5."""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
from pathlib import Path

from linkspan.errors import Internal, Unsupported
from linkspan.kernel.netlink import NETLINK_NETFILTER

_SO_PROTOCOL = 38


class NftError(Exception):
    """libnftables refused; its own words."""


class Library:
    """One libnftables context, with a netlink connection into the namespace that it was made in.

    libnftables waits with select(), so its connection has to be among the first 1024 descriptors of the process.
    """

    def __init__(self, *, owner: bool = True) -> None:
        """An owner of a table knows the `descriptor` that it is owned by. That takes a look at all there are: it is for
        the daemon's start."""
        try:
            self._nft = ctypes.CDLL("libnftables.so.1")
        except OSError:
            raise Unsupported("libnftables.so.1 is missing: install the package libnftables1") from None
        self._nft.nft_ctx_new.restype = ctypes.c_void_p
        for name in ("nft_ctx_get_output_buffer", "nft_ctx_get_error_buffer"):
            getattr(self._nft, name).restype = ctypes.c_char_p
        before = _netfilter_sockets() if owner else set()
        self._context = ctypes.c_void_p(self._nft.nft_ctx_new(0))
        opened = _netfilter_sockets() - before if owner else {-1}
        if not self._context or len(opened) != 1:
            raise Internal("libnftables did not open a netlink connection")
        (self.descriptor,) = opened
        self._nft.nft_ctx_buffer_output(self._context)
        self._nft.nft_ctx_buffer_error(self._context)

    def run(self, commands: str) -> str:
        """Runs commands as one transaction and answers what they print. Raises NftError."""
        failed = self._nft.nft_run_cmd_from_buffer(self._context, commands.encode())
        output = self._nft.nft_ctx_get_output_buffer(self._context) or b""
        errors = self._nft.nft_ctx_get_error_buffer(self._context) or b""
        if failed:
            # The first line says what; the rest repeats the command.
            first = errors.decode(errors="replace").strip().split("\n")[0][:300]
            raise NftError(first.rpartition("Error: ")[2] or "libnftables gave no reason")
        return str(output.decode(errors="replace"))

    def close(self) -> None:
        if self._context:
            self._nft.nft_ctx_free(self._context)
            self._context = ctypes.c_void_p()


def _netfilter_sockets() -> set[int]:
    """The descriptors of this process that are netlink connections to netfilter."""
    found = set()
    for entry in list(Path("/proc/self/fd").iterdir()):
        with contextlib.suppress(OSError):
            if not str(entry.readlink()).startswith("socket:"):
                continue
            with socket.socket(fileno=os.dup(int(entry.name))) as duplicate:
                if (
                    duplicate.family == socket.AF_NETLINK
                    and duplicate.getsockopt(socket.SOL_SOCKET, _SO_PROTOCOL) == NETLINK_NETFILTER
                ):
                    found.add(int(entry.name))
    return found
