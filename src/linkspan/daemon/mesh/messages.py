"""What a host that wants to join (it asks) and one of the mesh (it admits) say to each other, over TLS 1.3.

The side that admits shows a certificate of the mesh and says by which authority; the token says which authority that
has to be. Then each message has a proof: that who sent it knows the token's secret, and sent it on this connection, to
whoever holds the key of that certificate. The secret itself is never said. So somebody between the two, be it one who
has a key of the authority, learns nothing to be let in with, and cannot let anybody into something else.

A host that is in the mesh gets another authority in the same way (`Wanted`). It has no token; what both sides know is
the secret of their two WireGuard keys, and each knows the other's from before.

A message is four bytes of length and JSON.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from typing import TypeVar

import msgspec

from linkspan.errors import Unavailable
from linkspan.model.cluster import Host
from linkspan.model.wire import Wire

VERSION = 1
_MOST = 16 << 20  # bytes of an answer: it has all hosts
_MOST_ASKED = 64 << 10  # bytes of what somebody sends who is not let in yet
T = TypeVar("T")


class Greeting(Wire, frozen=True, kw_only=True):
    """The first word of who admits. `authority` is a certificate in PEM, `nonce` 32 bytes."""

    version: int
    authority: bytes
    nonce: bytes


class Request(Wire, frozen=True, kw_only=True):
    """`host` is what the host says of itself; its addresses in the mesh are still to be given. `clock`: seconds since
    1970. `encrypted` says whether it would have what goes between the hosts encrypted."""

    version: int
    host: Host
    clock: float
    encrypted: bool = True


class Wanted(Wire, frozen=True, kw_only=True):
    """A host of the mesh asks for an authority: that of a number, or for 0 the one that is in force."""

    version: int
    number: int = 0


class Given(Wire, frozen=True, kw_only=True):
    """An authority and its key (PEM), and the members of the store; or `error` says why not."""

    error: str = ""
    number: int = 0
    authority: bytes = b""
    authority_key: bytes = b""
    members: tuple[str, ...] = ()


class Proven(Wire, frozen=True, kw_only=True):
    """A message, as JSON, and the proof of it. `host` is the id of a host that is in the mesh; "" of one to join."""

    message: bytes
    proof: bytes
    host: str = ""


class Welcome(Wire, frozen=True, kw_only=True):
    """Either `error` says why not, or it is all that a host of the mesh has: its own record, the authority and its key
    (PEM), the other hosts, the members of the store (`ADDRESS:PORT`)."""

    error: str = ""
    host: Host | None = None
    number: int = 0  # of the authority
    authority: bytes = b""
    authority_key: bytes = b""
    hosts: tuple[Host, ...] = ()
    members: tuple[str, ...] = ()


class Binding:
    """What the proofs on one connection are bound to."""

    def __init__(self, secret: bytes, certificate: bytes, nonce: bytes) -> None:
        """`certificate` is the one that was shown, in DER."""
        self._secret = secret
        self._what = hashlib.sha256(certificate).digest() + nonce

    def prove(self, role: bytes, message: bytes) -> Proven:
        return Proven(message=message, proof=self._proof(role, message))

    def holds(self, role: bytes, proven: Proven) -> bool:
        return hmac.compare_digest(self._proof(role, proven.message), proven.proof)

    def _proof(self, role: bytes, message: bytes) -> bytes:
        return hmac.digest(self._secret, b"linkspan mesh " + role + b"\0" + self._what + message, "sha256")


ASKS, ADMITS = b"asks", b"admits"
WANTS, GIVES = b"wants", b"gives"


async def receive(reader: asyncio.StreamReader, type_: type[T], *, most: int = _MOST) -> T:
    """Raises Unavailable where the other side hangs up, or says something else."""
    try:
        length = int.from_bytes(await reader.readexactly(4), "big")
        if length > most:
            raise Unavailable("what it says is too long")
        return msgspec.json.decode(await reader.readexactly(length), type=type_)
    except (asyncio.IncompleteReadError, ConnectionError):
        raise Unavailable("it hung up") from None
    except msgspec.MsgspecError as error:
        raise Unavailable(f"what it says is not what it should be: {error}") from None


async def receive_asked(reader: asyncio.StreamReader) -> Proven:
    return await receive(reader, Proven, most=_MOST_ASKED)


async def send(writer: asyncio.StreamWriter, message: msgspec.Struct) -> None:
    body = msgspec.json.encode(message)
    writer.write(len(body).to_bytes(4, "big") + body)
    await writer.drain()
