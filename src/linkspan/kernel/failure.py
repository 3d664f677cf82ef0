"""From errno to our kinds of error: the only place that knows both."""

from __future__ import annotations

import errno

from linkspan.errors import Conflict, Internal, LinkspanError, NotFound, Unavailable, Unsupported

_LACKING = {errno.EOPNOTSUPP, errno.EPROTONOSUPPORT, errno.EAFNOSUPPORT, errno.ESOCKTNOSUPPORT, errno.ENOSYS}
_EXHAUSTED = {errno.ENOMEM, errno.ENOBUFS, errno.EMFILE, errno.ENFILE, errno.ENOSPC}
_FORBIDDEN = {errno.EPERM, errno.EACCES}


def explain(error: OSError, what: str) -> LinkspanError:
    """The error for a failed `what` ("create bridge docker0"). Its text: cannot <what>: <the kernel's words>."""
    words = f"cannot {what}: {(error.strerror or str(error)).lower()}"
    if error.errno in _LACKING:
        return Unsupported(f"{words} (the running kernel lacks this)")
    if error.errno in _EXHAUSTED:
        return Unavailable(words)
    if error.errno in _FORBIDDEN:
        return Internal(f"{words} (the daemon needs root's capabilities CAP_NET_ADMIN and CAP_SYS_ADMIN)")
    if error.errno == errno.EEXIST:
        return Conflict(words)
    if error.errno in (errno.ENODEV, errno.ENOENT):
        return NotFound(words)
    return Internal(words)
