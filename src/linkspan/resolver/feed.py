"""The daemon's side: keeps one resolver running, and fed.

The process belongs to no daemon. It listens at `<exec-root>/resolver.sock`; a daemon that starts finds it there, tells
it everything, and from then on what changes. One that does not answer, or runs another version of itself, is replaced:
the new one has its sockets in every sandbox before the old one is told to end.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import msgspec

from linkspan.errors import Unavailable
from linkspan.resolver.messages import LONGEST, Change, Done, Hello, line, version
from linkspan.state.names import NameKey, NameRecord

log = logging.getLogger(__name__)
_PATIENCE = 5.0  # seconds: what answers no more by then is replaced
_FULL_PATIENCE = 60.0  # seconds for everything: it may be sockets in thousands of sandboxes
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 5.0  # seconds before a process that keeps ending is started again
_UCRED = struct.Struct("=iII")  # pid, uid, gid

Everything = Callable[[], Mapping[NameKey, NameRecord]]
Now = Callable[[NameKey], NameRecord | None]


class Feed:
    """`follow` what has changed; everything else goes by itself between `start` and `close`."""

    def __init__(self, folder: Path, namespaces: Path, everything: Everything, now: Now) -> None:
        """`folder` is where the process is found; `everything` and `now` say what there is to know at this moment."""
        self._socket, self._errors = folder / "resolver.sock", folder / "resolver.log"
        self._namespaces = namespaces
        self._everything, self._now = everything, now
        self._link: _Link | None = None
        self._fed = False  # the process knows everything
        self._decided = asyncio.Event()  # it does, or could not be started the last time
        self._known: dict[NameKey, NameRecord] = {}  # what it was told, and has carried out or is about to
        self._running: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._running = asyncio.create_task(self._run())

    async def close(self) -> None:
        """Lets go. The process goes on by itself, if it has anything to answer for."""
        if self._running:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)

    async def ready(self) -> bool:
        """Once names are answered. False where that does not come about, which is said elsewhere."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._decided.wait(), _PATIENCE)
        return self._fed

    async def follow(self, touched: Iterable[NameKey]) -> None:
        """Returns once names are answered as they are now. What cannot be done is said: a container without names is
        better than none."""
        keys = set(touched)
        while changed := self._changed(keys):
            if self._fed:
                await self._tell(changed)
                if self._fed:
                    return
            # It will be told everything; only who has something to come needs to wait for that.
            if not any(changed.values()) or not await self.ready():
                return

    def _changed(self, keys: Iterable[NameKey]) -> dict[NameKey, NameRecord | None]:
        return {key: record for key in keys if (record := self._now(key)) != self._known.get(key)}

    async def _run(self) -> None:
        """Until cancelled: a resolver that ends is replaced."""
        pause = _FIRST_PAUSE
        while True:
            try:
                link = await self._begin()
                began = time.monotonic()
                await link.ended.wait()
                self._lost()
                log.error("the resolver has ended, and is started again%s", self._last_words())
                if time.monotonic() - began > _LONGEST_PAUSE:
                    pause = _FIRST_PAUSE
            except (OSError, subprocess.SubprocessError, Unavailable) as error:
                self._decided.set()
                log.error("the resolver cannot be started: %s%s", error, self._last_words())
            finally:
                self._fed, self._known = False, {}
                if self._link:
                    await self._link.close()
                    self._link = None
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    def _lost(self) -> None:
        """The process is gone: nothing is known any more, until another one has been told."""
        self._fed, self._known = False, {}
        self._decided.clear()

    async def _tell(self, changed: Mapping[NameKey, NameRecord | None], *, everything: bool = False) -> None:
        """Returns once it is in force, or the process is gone."""
        if self._link is None:
            return
        put = tuple(record for record in changed.values() if record)
        drop = tuple(key for key, record in changed.items() if record is None)
        self._known |= {record.key: record for record in put}
        for key in drop:
            self._known.pop(key, None)
        link = self._link
        failed = await link.change(put=put, drop=drop, everything=everything)
        if link.ended.is_set():
            self._lost()
        for (kind, id_), reason in failed:
            self._known.pop((kind, id_), None)  # so that it is told again when it comes up again
            where = f"in sandbox {id_[:12]}" if kind == "sandbox" else f"at {id_}"
            log.error("no names %s: %s", where, reason)

    async def _begin(self) -> _Link:
        """A process that knows everything. Raises OSError, SubprocessError, Unavailable."""
        old = await _Link.find(self._socket)
        self._link = link = old if old and old.version == version() else await self._start()
        await self._tell(self._everything(), everything=True)
        if old and old is not link:
            await old.end()
        if not link.ended.is_set():
            self._fed = True
            self._decided.set()
            # What has changed meanwhile.
            await self._tell(self._changed({*self._known, *self._everything()}))
        return link

    async def _start(self) -> _Link:
        """It is given the socket to listen at, so that it can be spoken to before it is there."""
        place = self._socket.with_suffix(".new")
        place.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as listener:
            listener.bind(str(place))
            place.chmod(0o600)
            listener.listen()
            await asyncio.to_thread(self._spawn, listener.fileno())
            place.rename(self._socket)
        if (link := await _Link.find(self._socket)) is None:
            raise Unavailable("it does not answer")
        return link

    def _spawn(self, listener: int) -> None:
        with self._errors.open("wb") as errors:
            subprocess.run(
                [sys.executable, "-m", "linkspan.resolver", str(self._namespaces), str(listener)],
                stdin=subprocess.DEVNULL,
                stdout=errors,
                stderr=errors,
                pass_fds=(listener,),
                start_new_session=True,
                cwd="/",
                check=True,
                timeout=_PATIENCE,
            )

    def _last_words(self) -> str:
        with contextlib.suppress(OSError):
            if said := self._errors.read_text(errors="replace").strip():
                return ": " + said[-1000:]
        return ""


class _Link:
    """A connection to a process that has said hello."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, hello: Hello) -> None:
        self._reader, self._writer, self._pid, self.version = reader, writer, hello.pid, hello.version
        self._number = 0
        self._waiting: dict[int, asyncio.Future[Done]] = {}
        self.ended = asyncio.Event()
        self._listening = asyncio.create_task(self._listen())

    @classmethod
    async def find(cls, place: Path) -> _Link | None:
        """None where nobody is there, or does not answer; such a process is ended."""
        try:
            reader, writer = await asyncio.open_unix_connection(str(place), limit=LONGEST)
        except OSError:
            return None
        try:
            said = await asyncio.wait_for(reader.readline(), _PATIENCE)
            return cls(reader, writer, msgspec.json.decode(said, type=Hello))
        except (OSError, msgspec.MsgspecError):  # a timeout too
            _kill(_listening(writer))
            writer.close()
            return None

    async def change(
        self, *, put: tuple[NameRecord, ...] = (), drop: tuple[NameKey, ...] = (), everything: bool = False
    ) -> tuple[tuple[NameKey, str], ...]:
        """What of it failed; nothing where the process ends meanwhile, as another one is told everything then."""
        if self.ended.is_set():
            return ()
        self._number += 1
        change = Change(number=self._number, put=put, drop=drop, everything=everything)
        answer: asyncio.Future[Done] = asyncio.get_running_loop().create_future()
        self._waiting[change.number] = answer
        self._writer.write(line(change))
        done, _ = await asyncio.wait([answer], timeout=_FULL_PATIENCE if everything else _PATIENCE)
        if not done:
            log.error("the resolver does not answer, and is killed")
            _kill(self._pid)
            await self.close()
        return answer.result().failed

    async def end(self) -> None:
        """The process's end: another one has taken over."""
        with contextlib.suppress(OSError):
            self._writer.write(line(Change(number=0, end=True)))
            await self._writer.drain()
        await self.close()

    async def close(self) -> None:
        self._listening.cancel()
        await asyncio.gather(self._listening, return_exceptions=True)

    async def _listen(self) -> None:
        try:
            while said := await self._reader.readline():
                done = msgspec.json.decode(said, type=Done)
                if answer := self._waiting.pop(done.number, None):
                    answer.set_result(done)
        except (OSError, msgspec.MsgspecError):
            pass
        finally:
            self._writer.close()
            for number, answer in self._waiting.items():
                answer.set_result(Done(number=number))
            self._waiting.clear()
            self.ended.set()


def _listening(writer: asyncio.StreamWriter) -> int:
    """The process that listens at the other end; our own id until it has begun to."""
    credentials = writer.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    return int(_UCRED.unpack(credentials)[0])


def _kill(pid: int) -> None:
    """Only what is a resolver: its number may be another process's by now."""
    with contextlib.suppress(OSError):
        if b"linkspan.resolver" in Path(f"/proc/{pid}/cmdline").read_bytes():
            os.kill(pid, signal.SIGKILL)
