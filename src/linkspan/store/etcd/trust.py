"""Certificates: whom we trust, and who we are."""

from __future__ import annotations

import os
import ssl
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

from linkspan.errors import InvalidArgument
from linkspan.store.etcd.address import Tls

_State: TypeAlias = Sequence[tuple[int, int]]  # inode and time of change, of each file


class Trust:
    """What new connections go by. Certificates are short-lived: files that have changed are read anew."""

    def __init__(self, tls: Tls) -> None:
        """Raises InvalidArgument naming a file that cannot be used."""
        self.server_name = tls.server_name
        self._tls = tls
        self._state = self._looked_at()
        self._context = _context(tls)

    @property
    def context(self) -> ssl.SSLContext:
        """That of the files as they are; of before, where they cannot be used: somebody may be about to write them."""
        if (state := self._looked_at()) != self._state:
            try:
                self._context = _context(self._tls)
            except InvalidArgument:
                return self._context
            self._state = state
        return self._context

    def _looked_at(self) -> _State:
        found: list[tuple[int, int]] = []
        for path in (self._tls.ca, self._tls.certificate, self._tls.key):
            try:
                status = Path(path).stat()
            except OSError:
                found.append((0, 0))
            else:
                found.append((status.st_ino, status.st_mtime_ns))
        return found


def _context(tls: Tls) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=tls.ca)
    except OSError as error:
        raise _unusable("ca", tls.ca, error) from None
    if tls.certificate:
        try:
            context.load_cert_chain(tls.certificate, tls.key)
        except OSError as error:
            raise _unusable("cert", f"{tls.certificate},key={tls.key}", error) from None
    return context


def _unusable(option: str, path: str, error: OSError) -> InvalidArgument:
    words = "it is not what it should be, a PEM file"
    if not isinstance(error, ssl.SSLError):
        words = os.strerror(error.errno or 0)
    elif error.reason == "KEY_VALUES_MISMATCH":
        words = "they do not belong together"
    return InvalidArgument(f"cluster TLS: {option}={path}: {words}")
