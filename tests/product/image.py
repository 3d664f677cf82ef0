"""The image that the tests run, as a tar for `docker import`: busybox, a web server's page, users, and oddities."""

from __future__ import annotations

import io
import shutil
import subprocess
import tarfile
from pathlib import Path

PROGRAM = shutil.which("busybox") or "/bin/busybox"
# Instructions of the web image: it tells each client the address it comes from, and ends at once when it is stopped.
WEB = ("EXPOSE 80 5353/udp", 'CMD ["httpd", "-f", "-p", "0.0.0.0:80", "-h", "/www"]', "STOPSIGNAL SIGKILL")
PLAIN = ('CMD ["sh"]', "LABEL of=image", "ENV IN_IMAGE=yes")
FILES = {
    "etc/passwd": (0o644, "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000::/home/app:/bin/sh\n"),
    "etc/group": (0o644, "root:x:0:\napp:x:1000:\nextra:x:2000:app\n"),
    "etc/plain": (0o644, "not to be executed\n"),
    "filled/from-image": (0o640, "from the image\n"),
    "www/index.html": (0o644, "here\n"),
    "www/cgi-bin/who": (0o755, '#!/bin/sh\necho\necho "$REMOTE_ADDR"\n'),
    # After a while without being asked to: what a server does that takes its time to end.
    "bin/stubborn": (0o755, "#!/bin/sh\ntrap 'echo asked' TERM\nwhile :; do sleep 0.1; done\n"),
    "bin/polite": (0o755, "#!/bin/sh\ntrap 'echo asked; exit 7' TERM\necho up\nwhile :; do sleep 0.05; done\n"),
}
FOLDERS = {"tmp": 0o1777, "root": 0o700, "home/app": 0o755, "proc": 0o555, "sys": 0o555, "dev": 0o755, "filled": 0o751}


def tar() -> bytes:
    """The root file system. /bin/broken is a program that no kernel can execute."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, mode in FOLDERS.items():
            _add(archive, name, mode, kind=tarfile.DIRTYPE)
        _add(archive, "bin/busybox", 0o755, Path(PROGRAM).read_bytes())
        for applet in subprocess.check_output([PROGRAM, "--list"], text=True).split():
            if applet != "busybox":
                _add(archive, f"bin/{applet}", 0o777, kind=tarfile.SYMTYPE, target="busybox")
        for name, (mode, text) in FILES.items():
            _add(archive, name, mode, text.encode())
        _add(archive, "bin/broken", 0o755, b"\x7fELF, or rather not\n")
    return buffer.getvalue()


def _add(
    archive: tarfile.TarFile, name: str, mode: int, data: bytes = b"", kind: bytes = tarfile.REGTYPE, target: str = ""
) -> None:
    entry = tarfile.TarInfo(name)
    entry.mode, entry.size, entry.type, entry.linkname, entry.mtime = mode, len(data), kind, target, 1_600_000_000
    archive.addfile(entry, io.BytesIO(data))
