"""`docker login`: are these credentials good for that registry?"""

from __future__ import annotations

import asyncio
import base64
import re
import ssl
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable

from linkspan.errors import Internal, Unauthorized

_TIMEOUT = 30  # seconds
_CHALLENGE = re.compile(r'(\w+)="([^"]*)"')


async def login(server: str, username: str, password: str, *, verify: Callable[[str], bool]) -> str:
    """Docker's status text. Raises Unauthorized, Internal where the registry does not answer."""
    return await asyncio.to_thread(_login, server, username, password, verify)


def _login(server: str, username: str, password: str, verify: Callable[[str], bool]) -> str:
    registry = re.sub(r"^https?://", "", server or "registry-1.docker.io").partition("/")[0]
    if registry == "index.docker.io":
        registry = "registry-1.docker.io"
    context = ssl.create_default_context()
    schemes = ["https"]
    if not verify(registry):
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        schemes.append("http")
    last: Exception = Internal(f"{registry} cannot be reached")
    for scheme in schemes:
        try:
            return _ask(f"{scheme}://{registry}/v2/", username, password, context)
        except urllib.error.HTTPError as error:
            if error.code in (401, 403):
                raise Unauthorized(
                    f'Get "{scheme}://{registry}/v2/": unauthorized: incorrect username or password'
                ) from None
            last = Internal(f'Get "{scheme}://{registry}/v2/": {error.code} {error.reason}')
        except (OSError, ValueError) as error:
            reason = getattr(error, "reason", error)
            last = Internal(f'Get "{scheme}://{registry}/v2/": {reason}')
    raise last


def _ask(url: str, username: str, password: str, context: ssl.SSLContext) -> str:
    pair = base64.b64encode(f"{username}:{password}".encode()).decode()
    try:
        _get(url, {"Authorization": f"Basic {pair}"}, context)
    except urllib.error.HTTPError as error:
        challenge = error.headers.get("WWW-Authenticate", "")
        if error.code != 401 or not challenge.lower().startswith("bearer"):
            raise
        fields = dict(_CHALLENGE.findall(challenge))
        query = urllib.parse.urlencode({"service": fields.get("service", ""), "account": username})
        _get(f"{fields['realm']}?{query}", {"Authorization": f"Basic {pair}"}, context)
    return "Login Succeeded"


def _get(url: str, headers: dict[str, str], context: ssl.SSLContext) -> None:
    request = urllib.request.Request(url, headers=headers)
    with urllib.request.urlopen(request, timeout=_TIMEOUT, context=context) as answer:
        answer.read(1 << 16)
