"""The side that lets in: it listens for hosts that want to join, and hears out those who prove that they have a token.

Hosts that are in the mesh are heard, too, where they want its authority. Nobody else gets an answer. Wrong tokens are
logged, and limited (`engine/mesh/guessing.py`).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import ssl
import time
from collections.abc import Awaitable, Callable
from typing import Protocol

import msgspec

from linkspan.daemon.mesh import messages
from linkspan.daemon.mesh.kept import Kept
from linkspan.daemon.mesh.messages import (
    ADMITS,
    ASKS,
    GIVES,
    WANTS,
    Binding,
    Given,
    Greeting,
    Proven,
    Request,
    Wanted,
    Welcome,
)
from linkspan.engine.mesh.guessing import Guessing
from linkspan.errors import LinkspanError, Unavailable

log = logging.getLogger(__name__)
_PATIENCE = 15.0  # seconds for all that is said
_AT_ONCE = 32  # connections


class Giver(Protocol):
    """Who has the mesh's authority."""

    def secret_with(self, host_id: str) -> bytes | None:
        """What this host and that one know; None of one that is not in the mesh."""

    def give(self, wanted: Wanted) -> Given: ...


class Admission:
    def __init__(
        self,
        kept: Kept,
        secret: Callable[[], Awaitable[bytes]],
        admit: Callable[[Request], Awaitable[Welcome]],
        giver: Giver | None = None,
        guessing: Guessing | None = None,
    ) -> None:
        """`secret` is that of the token that is valid now; `admit` decides on somebody who knows it."""
        self._giver = giver
        self._kept, self._secret, self._admit = kept, secret, admit
        self._guessing = guessing or Guessing()
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.minimum_version = ssl.TLSVersion.TLSv1_3
        self._server: asyncio.Server | None = None
        self._open = 0
        self._said: set[str] = set()  # whose silence is in the log
        self._strangers: set[str] = set()  # who is in the log for having wanted what is for the mesh's hosts

    async def start(self, port: int, address: str | None = None) -> int:
        """At one address, or at all. The port: of the kernel's choice for 0. Raises Unavailable where it is taken."""
        self.renew()
        try:
            self._server = await asyncio.start_server(
                self._met, address, port, ssl=self._context, ssl_handshake_timeout=5
            )
        except OSError as error:
            raise Unavailable(f"no host can join here: port {port}: {error.strerror or error}") from None
        return int(self._server.sockets[0].getsockname()[1])

    def renew(self) -> None:
        """The host's certificate is another one."""
        self._context.load_cert_chain(self._kept.certificate, self._kept.key)
        self._shown = ssl.PEM_cert_to_DER_cert(self._kept.certificate.read_text())

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()

    async def _met(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        address = str(writer.get_extra_info("peername")[0])
        self._open += 1
        try:
            if self._open <= _AT_ONCE and self._may_try(address):
                async with asyncio.timeout(_PATIENCE):
                    await self._hear(reader, writer, address)
        except (OSError, TimeoutError, LinkspanError) as error:
            log.debug("mesh: somebody at %s did not get through: %s", address, error)
        finally:
            self._open -= 1
            writer.close()
            with contextlib.suppress(OSError, TimeoutError):
                await asyncio.wait_for(writer.wait_closed(), 1)

    def _may_try(self, address: str) -> bool:
        if self._guessing.may_try(address, time.monotonic()):
            self._said.discard(address)
            return True
        if address not in self._said:
            self._said.add(address)
            log.warning("mesh: too many wrong tokens: nobody at %s is heard for a minute", address)
        return False

    async def _hear(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, address: str) -> None:
        nonce, shown = secrets.token_bytes(32), self._shown
        greeting = Greeting(version=messages.VERSION, authority=self._kept.authority.read_bytes(), nonce=nonce)
        await messages.send(writer, greeting)
        asked = await messages.receive_asked(reader)
        if asked.host:
            await self._give(writer, asked, shown, nonce, address)
            return
        binding = Binding(await self._secret(), shown, nonce)
        if not binding.holds(ASKS, asked):
            count = self._guessing.was_wrong(address, time.monotonic())
            log.warning("mesh: somebody at %s wanted to join with a wrong token (%d within a minute)", address, count)
            return
        welcome = await self._decided(asked, address)
        await messages.send(writer, binding.prove(ADMITS, msgspec.json.encode(welcome)))

    async def _give(
        self, writer: asyncio.StreamWriter, asked: Proven, shown: bytes, nonce: bytes, address: str
    ) -> None:
        secret = self._giver.secret_with(asked.host) if self._giver else None
        binding = Binding(secret or secrets.token_bytes(32), shown, nonce)
        if self._giver is None or secret is None or not binding.holds(WANTS, asked):
            if address not in self._strangers:
                self._strangers.add(address)
                log.warning("mesh: somebody at %s who is no host of the mesh wanted its authority's key", address)
            return
        try:
            given = self._giver.give(msgspec.json.decode(asked.message, type=Wanted))
        except (LinkspanError, msgspec.MsgspecError) as error:
            given = Given(error=str(error))
        await messages.send(writer, binding.prove(GIVES, msgspec.json.encode(given)))

    async def _decided(self, asked: Proven, address: str) -> Welcome:
        try:
            request = msgspec.json.decode(asked.message, type=Request)
            if request.version != messages.VERSION:
                raise Unavailable(f"it asks by version {request.version} of the protocol, not {messages.VERSION}")
            welcome = await self._admit(request)
        except (LinkspanError, msgspec.MsgspecError) as error:
            log.warning("mesh: the host at %s cannot join: %s", address, error)
            return Welcome(error=str(error))
        if welcome.host:
            log.info("mesh: host %s at %s has joined", welcome.host.name, address)
        return welcome
