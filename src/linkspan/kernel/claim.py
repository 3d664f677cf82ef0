"""One daemon a host network: a name in it that is held for as long as the daemon lives."""

from __future__ import annotations

import errno
import logging
import os
import socket
import struct
import time
from pathlib import Path

from linkspan.errors import Conflict
from linkspan.kernel.failure import explain

log = logging.getLogger(__name__)
_CLAIM = "\0linkspan"
_UCRED = struct.Struct("=iII")  # pid, uid, gid
_LETTING_GO = 1.0  # seconds until the last child of a daemon that was killed has let go of what it inherited


def claim() -> socket.socket:
    """Holds the host's network for this process: whatever carries our marks is ours, and so there can be but one of us.

    Abstract names belong to the network namespace, and vanish with the process. The table's owner would say the same,
    where this kernel has owned tables that persist, and where ours is one.
    """
    held = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    patience = time.monotonic() + _LETTING_GO
    while True:
        try:
            held.bind(_CLAIM)
            held.listen()  # so that whoever finds the name taken can ask the kernel by whom
            return held
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                held.close()
                raise explain(error, "claim the host's network") from error
        holder, user = _holder()
        if user != 0:
            # Anybody may take an abstract name. A user who is not root must not keep the daemon from starting by that.
            log.warning("the socket @linkspan is held by a user's process: a second linkspand would not be noticed")
            return held
        if _gone(holder) and time.monotonic() < patience:
            time.sleep(0.01)
            continue
        held.close()
        raise Conflict(
            "another linkspand programs this host's network: stop it first, or start this one in a network "
            "namespace of its own; `ss -xlp` names the process that holds @linkspan"
        )


def _holder() -> tuple[int, int]:
    """(process id, user id) of who listens at the claim, as a linkspand does; a user's process where nobody does."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as asking:
        try:
            asking.connect(_CLAIM)
        except BlockingIOError:
            return 0, 0  # it listens, and others asked before
        except OSError:
            return 0, -1
        credentials = asking.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    pid, user, _ = _UCRED.unpack(credentials)
    return pid, user


def _gone(pid: int) -> bool:
    """The daemon before us has ended, and a child that it was just starting still holds what it held.

    Process 0 is one of a process namespace that we do not see into.
    """
    return pid == os.getpid() or (pid != 0 and not Path(f"/proc/{pid}").exists())
