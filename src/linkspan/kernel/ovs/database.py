"""A connection to Open vSwitch's database (RFC 7047): transactions, and a copy of what it holds.

One change is 3 ms, of which the switch takes most, against 10 ms by ovs-vsctl; reading is 0.06 ms against 5 ms
(docs/decisions/ovs.md).
"""

from __future__ import annotations

import contextlib
import json
import socket
import struct
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from linkspan.errors import Internal, LinkspanError, Unavailable
from linkspan.kernel.ovs.rows import COLUMNS, Rows, members

Operation: TypeAlias = dict[str, Any]

_DATABASE = "Open_vSwitch"
_ANSWER = 10.0  # seconds, for the server
_FOLLOW = 5.0  # seconds, for the switch
_SWITCH_LOCK = "ovs_vswitchd"  # held by the switch for as long as it lives


class Database:
    """Every call may raise Unavailable, after which the connection is closed: the server is gone, or talks nonsense."""

    def __init__(self, path: str, patience: float = _ANSWER) -> None:
        self.path, self._patience = path, patience
        self.rows = Rows()
        self._number, self._rest = 0, ""
        self._decoder = json.JSONDecoder()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            self._socket.settimeout(self._patience)
            self._socket.connect(path)
            columns = {table: {"columns": names} for table, names in COLUMNS.items()}
            self._update(self._call("monitor", [_DATABASE, None, columns]))
        except OSError as error:
            self.close()
            raise Unavailable(f"nothing answers at unix:{path} ({(error.strerror or str(error)).lower()})") from error
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        self._socket.close()

    def is_here(self) -> bool:
        """Whether the server lives in the network namespace that the caller's thread is in, as far as that is known."""
        pid, _, _ = struct.unpack("3i", self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        try:
            there, here = Path(f"/proc/{pid}/ns/net").stat(), Path("/proc/thread-self/ns/net").stat()
        except OSError:
            return True
        return (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino)

    def look(self) -> Rows:
        """The rows as they are now."""
        self._call("echo", [])
        return self.rows

    def heard(self) -> Rows:
        """The rows as far as the server has told of changes by itself."""
        try:
            self._socket.setblocking(False)
            while True:
                self._note(self._next())
        except BlockingIOError:
            self._socket.settimeout(self._patience)
            return self.rows
        except OSError as error:
            raise self._gone(error) from error

    def switch_runs(self) -> bool:
        """The switch holds a lock in the database; whoever gets it at once has found that it does not run."""
        with self._understood():
            held = not self._call("lock", [_SWITCH_LOCK])["locked"]
        self._call("unlock", [_SWITCH_LOCK])
        return held

    def transact(self, operations: Sequence[Operation], *, follow: bool) -> None:
        """All of the operations or none. With `follow`, returns once the switch has done what they say.

        Raises Internal with the server's words where it refuses, Unavailable where the switch does not follow.
        """
        counted = {"op": "mutate", "table": _DATABASE, "where": [], "mutations": [["next_cfg", "+=", 1]]}
        asked = {"op": "select", "table": _DATABASE, "where": [], "columns": ["next_cfg"]}
        with self._understood():
            *_, answer = self._transact([*operations, counted, asked])
            wanted = int(answer["rows"][0]["next_cfg"])
            while follow and (now := int(self._select(_DATABASE, [], ["cur_cfg"])[0]["cur_cfg"])) < wanted:
                self._wait(now)

    def failures(self, names: Sequence[str]) -> Iterator[tuple[str, str]]:
        """Interfaces of these names that the switch could not make use of, and what it says of them."""
        for name in names:
            with self._understood():
                rows = self._select("Interface", [["name", "==", name]], ["error", "ofport"])
                told = [str(next(iter(members(r["error"])), "it is not said why")) for r in rows if _failed(r)]
            yield from ((name, said) for said in told)

    def _select(self, table: str, where: Sequence[Sequence[object]], columns: Sequence[str]) -> list[Mapping[str, Any]]:
        (answer,) = self._transact([{"op": "select", "table": table, "where": where, "columns": columns}])
        rows: list[Mapping[str, Any]] = answer["rows"]
        return rows

    def _wait(self, configured: int) -> None:
        """Until the switch has followed to more than `configured`."""
        limit = int(_FOLLOW * 1000)
        wait = {"op": "wait", "table": _DATABASE, "where": [], "timeout": limit, "columns": ["cur_cfg"]}
        try:
            self._transact([{**wait, "until": "!=", "rows": [{"cur_cfg": configured}]}])
        except Internal:
            raise Unavailable(
                f"Open vSwitch's database at unix:{self.path} is changed, and ovs-vswitchd does not follow: is it well?"
            ) from None

    def _transact(self, operations: Sequence[Operation]) -> list[Any]:
        answers: list[Any] = self._call("transact", [_DATABASE, *operations])
        for answer in answers:
            if answer and "error" in answer:
                said = answer.get("details") or answer["error"]
                raise Internal(f"Open vSwitch's database refuses: {said}")
        return answers

    def _call(self, method: str, parameters: Sequence[Any]) -> Any:
        self._number += 1
        number = self._number
        try:
            self._socket.sendall(json.dumps({"method": method, "params": parameters, "id": number}).encode())
            while (message := self._next()).get("id") != number or "method" in message:
                self._note(message)
        except OSError as error:
            raise self._gone(error) from error
        if message.get("error"):
            raise Internal(f"Open vSwitch's database refuses {method}: {message['error']}")
        return message.get("result")

    def _next(self) -> dict[str, Any]:
        """The next message; waits for it where it has not come yet."""
        while True:
            if self._rest:
                try:
                    message, end = self._decoder.raw_decode(self._rest)
                except ValueError:
                    pass  # not all of it is there
                else:
                    self._rest = self._rest[end:].lstrip()
                    if not isinstance(message, dict):
                        raise self._gone(ValueError("not an object"))
                    return message
            received = self._socket.recv(1 << 18)
            if not received:
                raise ConnectionResetError("the connection was closed")
            self._rest += received.decode("utf-8", "surrogateescape")

    def _note(self, message: dict[str, Any]) -> None:
        """What the server says unasked: that rows have changed, and that it wants to hear that we are there."""
        with self._understood():
            if message.get("method") == "update":
                self._update(message["params"][1])
            elif message.get("method") == "echo":
                answer = {"result": message["params"], "error": None, "id": message["id"]}
                self._socket.sendall(json.dumps(answer).encode())

    def _update(self, tables: Any) -> None:
        with self._understood():
            self.rows.update(tables)

    @contextlib.contextmanager
    def _understood(self) -> Iterator[None]:
        """What is not of the form that it has to be is no answer of such a database's."""
        try:
            yield
        except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
            raise self._gone(error) from error

    def _gone(self, error: Exception) -> LinkspanError:
        self.close()
        said = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        return Unavailable(f"Open vSwitch's database at unix:{self.path} answers no more: {said.lower()}")


def _failed(row: Mapping[str, Any]) -> bool:
    return members(row["ofport"]) == [-1]
