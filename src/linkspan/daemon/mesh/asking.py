"""The side that wants to join: it asks one host of the mesh, which has to be one, and is given all that it needs."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Callable, Collection

import msgspec

from linkspan.daemon.mesh import messages
from linkspan.daemon.mesh.certificates import fingerprint_of, is_of
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
from linkspan.errors import Conflict, Forbidden, Unavailable
from linkspan.model.cluster import Host
from linkspan.model.mesh_token import Token
from linkspan.store.etcd.http import reason

_PATIENCE = 20.0  # seconds: whoever is asked asks the mesh's store
_BRIEF = 4.0  # seconds: of who has the answer at hand


async def ask(
    place: tuple[str, int],
    token: Token,
    host: Host,
    clock: Callable[[], float] = time.time,
    *,
    encrypted: bool = True,
) -> Welcome:
    """What a host of the mesh gives us. Raises Unavailable (it cannot be reached, or does not answer), Forbidden (it
    refuses the token), Conflict (it is of another mesh, or says why we cannot join)."""
    name = f"[{place[0]}]:{place[1]}" if ":" in place[0] else f"{place[0]}:{place[1]}"
    try:
        async with asyncio.timeout(_PATIENCE):
            reader, writer = await asyncio.open_connection(*place, ssl=_context())
            try:
                request = Request(version=messages.VERSION, host=host, clock=clock(), encrypted=encrypted)
                return await _ask(name, reader, writer, token, request)
            finally:
                writer.transport.abort()
    except TimeoutError:
        raise Unavailable(f"cannot join the mesh: {name} does not answer within {_PATIENCE:g} s") from None
    except OSError as error:
        raise Unavailable(f"cannot join the mesh: {name}: {reason(error)}") from None


async def _ask(
    name: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, token: Token, request: Request
) -> Welcome:
    shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    try:
        greeting = await messages.receive(reader, Greeting)
    except Unavailable as error:
        raise Unavailable(
            f"cannot join the mesh: {name}: {error}: is linkspand --mesh what listens there? Where wrong tokens came "
            "from this address, it hears nobody from there for a minute"
        ) from None
    if greeting.version != messages.VERSION:
        raise Conflict(
            f"cannot join the mesh: {name} lets hosts in by version {greeting.version} of the protocol, this linkspand "
            f"knows {messages.VERSION}: both need the same linkspan"
        )
    if fingerprint_of(greeting.authority)[: len(token.authority)] != token.authority:
        raise Conflict(
            f"cannot join the mesh: the token is of another mesh than {name}, or older than its authority: `linkspan "
            "mesh token` on a host of the mesh shows the one that is valid"
        )
    if not is_of(shown, greeting.authority):
        raise Conflict(f"cannot join the mesh: {name} is none of its hosts: its certificate is not of the mesh")
    binding = Binding(token.secret, shown, greeting.nonce)
    await messages.send(writer, binding.prove(ASKS, msgspec.json.encode(request)))
    try:
        answer = await messages.receive(reader, Proven)
    except Unavailable:
        raise Forbidden(
            f"cannot join the mesh: {name} refuses the token: it is not, or no more, the mesh's; `linkspan mesh token` "
            "on a host of the mesh shows the one that is"
        ) from None
    if not binding.holds(ADMITS, answer):
        raise Forbidden(f"cannot join the mesh: {name} does not know the token's secret")
    welcome = msgspec.json.decode(answer.message, type=Welcome)
    if welcome.error:
        raise Conflict(f"cannot join the mesh: {name} says: {welcome.error}")
    return welcome


async def want(
    place: tuple[str, int], host_id: str, secret: bytes, number: int, known: Collection[bytes] = ()
) -> Given | None:
    """What another host gives this one, which is of the same mesh, where it has another authority in force than those
    of these fingerprints; None where it has not. `secret` is what the two know.

    Raises Unavailable where it does not answer; Forbidden where it does not know this host, or is another one; Conflict
    with what it says.
    """
    try:
        async with asyncio.timeout(_BRIEF):
            reader, writer = await asyncio.open_connection(*place, ssl=_context())
            try:
                shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
                greeting = await messages.receive(reader, Greeting)
                if fingerprint_of(greeting.authority) in known:
                    return None
                binding = Binding(secret, shown, greeting.nonce)
                wanted = Wanted(version=messages.VERSION, number=number)
                asked = binding.prove(WANTS, msgspec.json.encode(wanted))
                await messages.send(writer, msgspec.structs.replace(asked, host=host_id))
                try:
                    answer = await messages.receive(reader, Proven)
                except Unavailable:
                    raise Forbidden(f"{place[0]} does not know this host") from None
            finally:
                writer.transport.abort()
    except TimeoutError:
        raise Unavailable(f"{place[0]} does not answer within {_BRIEF:g} s") from None
    except OSError as error:
        raise Unavailable(f"{place[0]}: {reason(error)}") from None
    if not binding.holds(GIVES, answer):
        raise Forbidden(f"{place[0]} is not the host that it should be")
    try:
        given = msgspec.json.decode(answer.message, type=Given)
    except msgspec.MsgspecError as error:
        raise Unavailable(f"{place[0]}: what it says is not what it should be: {error}") from None
    if given.error:
        raise Conflict(f"{place[0]} says: {given.error}")
    return given


def _context() -> ssl.SSLContext:
    """The certificate is looked at by ourselves: no name is in it that we could know, and only the token says by whom
    it has to be."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
