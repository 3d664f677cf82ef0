"""BIRD: a process that outlives the daemon, and what is said to it.

Its socket takes lines and answers in lines, each with a number: 0 in front is well, 8 and 9 are not.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
from pathlib import Path

from linkspan.daemon.supervised import Running, Supervised
from linkspan.errors import Internal, InvalidArgument, Unavailable, Unsupported

PROTOCOL = 12  # of its routes in the kernel
_PATIENCE = 10.0  # seconds for an answer
_FIRST = 10.0  # seconds that one which has been started is given until it listens
_SBIN = ("/usr/sbin", "/sbin")  # where it is, whether users' programs are looked for there or not


def program() -> str:
    """Its path, "" where it is not installed."""
    return shutil.which("bird", path=os.pathsep.join((os.environ.get("PATH", ""), *_SBIN))) or ""


class Bird:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.configuration, self._socket = folder / "bird.conf", folder / "bird.ctl"
        # -R: routes that an earlier one has left are kept until the peers have said which still hold.
        command = (program() or "bird", "-f", "-R", "-c", str(self.configuration), "-s", str(self._socket))
        self._supervised = Supervised("bird", folder, command)
        self._task: asyncio.Task[None] | None = None

    def now(self) -> Running | None:
        """The process, None where there is none."""
        return self._supervised.now()

    async def check(self, text: str) -> None:
        """Raises InvalidArgument with BIRD's word where it would refuse this configuration, Unsupported where there is
        no BIRD."""
        if not (path := program()):
            raise Unsupported("there is no BIRD on this host: install bird2")
        trial = self.folder / "trial.conf"
        _write(trial, text)
        try:
            process = await asyncio.create_subprocess_exec(
                *(path, "-p", "-c", str(trial)),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
            )
            said, _ = await asyncio.wait_for(process.communicate(), _PATIENCE)
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            raise Internal("BIRD does not say whether it takes its configuration") from None
        finally:
            trial.unlink()
        if process.returncode:
            why = said.decode(errors="replace").strip().replace(f"{trial}:", "line ")
            raise InvalidArgument(f"BIRD refuses its configuration: {why}")

    def write(self, text: str) -> None:
        """Whoever reads it reads all of it: the old one or the new one."""
        _write(self.folder / "new.conf", text)
        (self.folder / "new.conf").replace(self.configuration)

    async def start(self) -> None:
        """Looks after it from now on, whether it runs already or not. Returns once it listens. Raises Unavailable."""
        if self._task is None:
            self._task = asyncio.create_task(self._supervised.run())
        async with asyncio.timeout(_FIRST):
            await self._supervised.up()
            while True:
                with contextlib.suppress(Unavailable):
                    await self.ask("show status")
                    return
                await asyncio.sleep(0.02)

    async def configure(self) -> None:
        """It takes what is written. Raises Internal where it does not."""
        await self.ask("configure")

    async def ask(self, question: str) -> list[str]:
        """The lines of the answer. Raises Unavailable where nobody answers, Internal where it says no."""
        try:
            async with asyncio.timeout(_PATIENCE):
                reader, writer = await asyncio.open_unix_connection(self._socket)
                try:
                    await _answer(reader)  # who it is
                    writer.write(f"{question}\n".encode())
                    return await _answer(reader)
                finally:
                    writer.close()
        except (OSError, EOFError, TimeoutError) as error:
            raise Unavailable(f"BIRD does not answer: {error or 'it takes too long'}") from error

    async def end(self) -> None:
        """Ends it, whoever has started it; its routes stay."""
        await self.let_go()
        await self._supervised.end()

    def forget(self) -> None:
        """Its routes have gone too: nothing is left of it."""
        for path in (self.configuration, self._socket):
            path.unlink(missing_ok=True)

    async def let_go(self) -> None:
        """It goes on without us."""
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None


async def _answer(reader: asyncio.StreamReader) -> list[str]:
    lines: list[str] = []
    number = ""
    while True:
        raw = await reader.readline()
        if not raw.endswith(b"\n"):
            raise EOFError
        line = raw.decode(errors="replace").rstrip("\n")
        if line.startswith("+"):
            continue  # said to whoever is there, not to us
        if line[:4].isdigit() and line[4:5] in ("-", " "):
            number, line, last = line[:4], line[5:], line[4] == " "
        else:
            line, last = line[1:], False  # goes on with the one before
        if line or not last:
            lines.append(line)
        if last:
            if number[0] in "89":
                raise Internal(f"BIRD: {' '.join(lines[-2:])}")
            return lines


def _write(path: Path, text: str) -> None:
    """There are passwords in it."""
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
