"""A registry, spoken to in the distribution protocol: manifests, blobs, uploads, logging in.

Whom to trust is dockerd's: TLS with verification; `--insecure-registry` hosts, networks, and loopback may be without
verification or plain HTTP; certificates in /etc/docker/certs.d/<host:port>. Everything here blocks, and is called in
threads; `Registry.abort` makes those return.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import ipaddress
import re
import socket
import ssl
import threading
import urllib.parse
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from linkspan.errors import Internal, InvalidArgument, LinkspanError, NotFound, Unauthorized
from linkspan.model.reference import DEFAULT_REGISTRY, Reference
from linkspan.runtime.images.manifest import ACCEPTED

CONNECT_TIMEOUT, ANSWER_TIMEOUT = 15.0, 60.0  # seconds; of an answer: without a byte
_HUB = "registry-1.docker.io"
_REDIRECTS = (301, 302, 303, 307, 308)
_LARGEST_DOCUMENT = 8 << 20  # bytes of a manifest, a list of tags, an error
_PARAMETER = re.compile(r'(\w+)="([^"]*)"')


class Credentials(msgspec.Struct, frozen=True, kw_only=True, rename="lower"):
    """What `docker login` keeps, as X-Registry-Auth carries it."""

    username: str = ""
    password: str = ""
    identitytoken: str = ""
    registrytoken: str = ""


def parse_auth(header: str) -> Credentials:
    """The X-Registry-Auth header: base64url of JSON, empty for nobody. Raises InvalidArgument."""
    if not header:
        return Credentials()
    try:
        plain = header.rstrip("=").replace("-", "+").replace("_", "/")
        text = base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
        return msgspec.json.decode(text, type=Credentials) if text.strip() else Credentials()
    except (ValueError, msgspec.MsgspecError):
        raise InvalidArgument("invalid X-Registry-Auth header: base64url of JSON is needed") from None


class Trust:
    """Which registries may be spoken to without TLS, and with what certificates the others."""

    def __init__(self, insecure: Sequence[str], certificates: Path) -> None:
        """`insecure` are hosts, host:port or CIDRs."""
        self._insecure, self._certificates = tuple(insecure), certificates
        self.schemes: dict[str, str] = {}  # what an insecure registry was found to speak

    def insecure(self, host: str) -> bool:
        name = host.rpartition(":")[0] if re.search(r":\d+$", host) else host
        if host in self._insecure or name in self._insecure or name == "localhost":
            return True
        try:
            address = ipaddress.ip_address(name.strip("[]"))
        except ValueError:
            return False
        if address.is_loopback:
            return True
        networks = [entry for entry in self._insecure if "/" in entry]
        return any(address in ipaddress.ip_network(network, strict=False) for network in networks)

    def context(self, host: str) -> ssl.SSLContext:
        """Raises Internal where the host's certificates cannot be read."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        if self.insecure(host):
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        else:
            context.load_default_certs()  # 20 ms
        folder = self._certificates / host
        try:
            for authority in sorted(folder.glob("*.crt")):
                context.load_verify_locations(authority)
            for certificate in sorted(folder.glob("*.cert")):
                context.load_cert_chain(certificate, certificate.with_suffix(".key"))
        except (OSError, ssl.SSLError) as error:
            raise Internal(f"the certificates for {host} in {folder} cannot be read: {error}") from None
        return context


class Failure(Exception):
    """A registry's refusal: HTTP `status`, and the protocol's error `code` (MANIFEST_UNKNOWN) where it gave one."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message


class Registry:
    """One registry, as one client with its credentials; for one pull or push. Safe to use in several threads."""

    def __init__(self, host: str, trust: Trust, credentials: Credentials) -> None:
        self.host = _HUB if host == DEFAULT_REGISTRY else host
        self._trust, self._credentials = trust, credentials
        self._authorization: dict[str, str] = {}  # by scope
        self._contexts: dict[str, ssl.SSLContext] = {}
        self._open: set[socket.socket | None] = set()
        self._lock = threading.Lock()
        self.aborted = False

    def abort(self) -> None:
        """Ends what is going on in other threads, with Internal there."""
        self.aborted = True
        with self._lock:
            for open_ in filter(None, self._open):
                with contextlib.suppress(OSError):
                    open_.shutdown(socket.SHUT_RDWR)

    # -- what can be asked --------------------------------------------------------------------------------------------

    def manifest(self, path: str, tag_or_digest: str) -> bytes:
        with self.request("GET", f"/v2/{path}/manifests/{tag_or_digest}", _pull(path), {"Accept": ACCEPTED}) as answer:
            return _document(answer)

    @contextlib.contextmanager
    def blob(self, path: str, digest: str, offset: int) -> Iterator[BinaryIO]:
        """The bytes of a blob from `offset` on; raises Failure 416 where the registry cannot begin there."""
        headers = {"Range": f"bytes={offset}-"} if offset else {}
        with self.request("GET", f"/v2/{path}/blobs/{digest}", _pull(path), headers) as answer:
            if offset and answer.status != 206:
                raise Failure(416, "", "the registry sends no part of a blob")
            yield answer

    def has_blob(self, path: str, digest: str) -> bool:
        try:
            with self.request("HEAD", f"/v2/{path}/blobs/{digest}", _push(path), {}):
                return True
        except Failure as failure:
            if failure.status == 404:
                return False
            raise

    def upload(self, path: str, digest: str, size: int, body: Iterator[bytes]) -> None:
        with self.request("POST", f"/v2/{path}/blobs/uploads/", _push(path), {"Content-Length": "0"}) as answer:
            answer.read()
            place = answer.headers.get("Location", "")
        place += ("&" if "?" in place else "?") + urllib.parse.urlencode({"digest": digest})
        headers = {"Content-Length": str(size), "Content-Type": "application/octet-stream"}
        with self.request("PUT", place, _push(path), headers, body) as answer:
            answer.read()

    def put_manifest(self, path: str, tag: str, raw: bytes, media_type: str) -> None:
        headers = {"Content-Length": str(len(raw)), "Content-Type": media_type}
        with self.request("PUT", f"/v2/{path}/manifests/{tag}", _push(path), headers, iter([raw])) as answer:
            answer.read()

    def tags(self, path: str) -> list[str]:
        found: list[str] = []
        place = f"/v2/{path}/tags/list"
        while place:
            with self.request("GET", place, _pull(path), {}) as answer:
                page = msgspec.json.decode(_document(answer), type=dict[str, Any])
                found += [str(tag) for tag in page.get("tags") or ()]
                following = re.match(r"<([^>]+)>", answer.headers.get("Link", ""))
            place = following.group(1) if following else ""
        return found

    def check(self) -> None:
        """Asks whether the credentials are good. Raises Failure."""
        with self.request("GET", "/v2/", "", {}) as answer:
            answer.read(_LARGEST_DOCUMENT)

    # -- HTTP ---------------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def request(
        self, method: str, place: str, scope: str, headers: dict[str, str], body: Iterator[bytes] | None = None
    ) -> Iterator[http.client.HTTPResponse]:
        """`place` is a path, or a whole URL that the registry has given. Raises Failure, Internal (no answer)."""
        url = place if "://" in place else f"{self._scheme()}://{self.host}{place}"
        for hop in range(10):
            ours = urllib.parse.urlsplit(url).netloc == self.host
            sent = dict(headers)
            if ours and (known := self._authorization.get(scope)):
                sent["Authorization"] = known
            with self._exchange(method, url, sent, body) as answer:
                if answer.status == 401 and ours and body is None and hop == 0 and self._authorize(answer, scope):
                    continue
                target = answer.headers.get("Location")
                if answer.status in _REDIRECTS and target and method in ("GET", "HEAD"):
                    url = urllib.parse.urljoin(url, target)
                    continue
                if answer.status >= 400:
                    raise _failure(answer)
                yield answer
                return
        raise Internal(f'{method.title()} "{url}": too many redirects')

    def _scheme(self) -> str:
        """http or https, as an insecure registry was found to speak; the others speak https."""
        if not self._trust.insecure(self.host):
            return "https"
        if self.host not in self._trust.schemes:
            try:
                with self._exchange("GET", f"https://{self.host}/v2/", {}, None) as answer:
                    answer.read(_LARGEST_DOCUMENT)
                self._trust.schemes[self.host] = "https"
            except _NoTls:
                self._trust.schemes[self.host] = "http"
        return self._trust.schemes[self.host]

    @contextlib.contextmanager
    def _exchange(
        self, method: str, url: str, headers: dict[str, str], body: Iterator[bytes] | None
    ) -> Iterator[http.client.HTTPResponse]:
        where = f'{method.title()} "{url.partition("?")[0]}"'
        parts = urllib.parse.urlsplit(url)
        connection, target = self._connection(parts)
        connected: socket.socket | None = None
        try:
            try:
                connection.connect()
            except (OSError, ValueError) as error:
                # A registry of an insecure host may also speak TLS that is not ours to understand: then it is plain.
                if parts.scheme == "https" and isinstance(error, ssl.SSLError | ConnectionResetError):
                    raise _NoTls(f"{where}: {_reason(error, parts.netloc)}") from None
                raise Internal(f"{where}: {_reason(error, parts.netloc)}") from None
            connected = connection.sock  # which http.client forgets where the answer ends with the connection
            connected.settimeout(ANSWER_TIMEOUT)
            with self._lock:
                self._open.add(connected)
            try:
                connection.request(method, target, body=body, headers={"User-Agent": "linkspan", **headers})
                answer = connection.getresponse()
            except (OSError, http.client.HTTPException) as error:
                raise Internal(f"{where}: {_reason(error, parts.netloc)}") from None
            try:
                yield answer
            finally:
                answer.close()
        finally:
            with self._lock:
                self._open.discard(connected)
            connection.close()

    def _connection(self, parts: urllib.parse.SplitResult) -> tuple[http.client.HTTPConnection, str]:
        """An unconnected connection, through the proxy of the environment where one is meant, and what to ask it."""
        if self.aborted:
            raise Internal("the transfer was cancelled")
        target = urllib.parse.urlunsplit(("", "", parts.path or "/", parts.query, ""))
        proxy = urllib.request.getproxies().get(parts.scheme, "")
        if not proxy or urllib.request.proxy_bypass(parts.netloc):
            if parts.scheme == "https":
                context = self._context(parts.netloc)
                return http.client.HTTPSConnection(parts.netloc, timeout=CONNECT_TIMEOUT, context=context), target
            return http.client.HTTPConnection(parts.netloc, timeout=CONNECT_TIMEOUT), target
        via = urllib.parse.urlsplit(proxy if "://" in proxy else f"http://{proxy}").netloc.rpartition("@")[2]
        if parts.scheme == "http":
            return http.client.HTTPConnection(via, timeout=CONNECT_TIMEOUT), urllib.parse.urlunsplit(parts)
        secure = http.client.HTTPSConnection(via, timeout=CONNECT_TIMEOUT, context=self._context(parts.netloc))
        secure.set_tunnel(parts.hostname or "", parts.port or 443)
        return secure, target

    def _context(self, host: str) -> ssl.SSLContext:
        if host not in self._contexts:
            self._contexts[host] = self._trust.context(host)
        return self._contexts[host]

    def _authorize(self, answer: http.client.HTTPResponse, scope: str) -> bool:
        """Takes up the registry's challenge: with the password itself, or with a token for it. False: cannot."""
        kind, _, rest = answer.headers.get("WWW-Authenticate", "").partition(" ")
        mine = self._credentials
        pair = base64.b64encode(f"{mine.username}:{mine.password}".encode()).decode()
        if kind.lower() == "basic" and mine.username:
            self._authorization[scope] = f"Basic {pair}"
        elif kind.lower() == "bearer" and mine.registrytoken:
            self._authorization[scope] = f"Bearer {mine.registrytoken}"
        elif kind.lower() == "bearer":
            fields = dict(_PARAMETER.findall(rest))
            self._authorization[scope] = f"Bearer {self._token(fields, scope, pair)}"
        else:
            return False
        return True

    def _token(self, challenge: dict[str, str], scope: str, pair: str) -> str:
        realm, mine = challenge.get("realm", ""), self._credentials
        if urllib.parse.urlsplit(realm).scheme not in ("http", "https"):
            raise Internal(f"{self.host} names no place to get a token from: {realm!r}")
        fields = {"service": challenge.get("service", "")}
        if wanted := scope or challenge.get("scope", ""):
            fields["scope"] = wanted
        if mine.identitytoken:
            form = {**fields, "grant_type": "refresh_token", "client_id": "linkspan"}
            data = urllib.parse.urlencode({**form, "refresh_token": mine.identitytoken}).encode()
            headers = {"Content-Type": "application/x-www-form-urlencoded", "Content-Length": str(len(data))}
            exchange = self._exchange("POST", realm, headers, iter([data]))
        else:
            headers = {"Authorization": f"Basic {pair}"} if mine.username else {}
            if mine.username:
                fields["account"] = mine.username
            separator = "&" if "?" in realm else "?"
            exchange = self._exchange("GET", realm + separator + urllib.parse.urlencode(fields), headers, None)
        with exchange as answer:
            if answer.status != 200:
                raise _failure(answer)
            found = msgspec.json.decode(_document(answer), type=dict[str, Any])
        token = found.get("token") or found.get("access_token") or ""
        if not isinstance(token, str) or not token or "\n" in token:
            raise Internal(f"{self.host} gave no token")
        return token


class _NoTls(Internal):
    """The other side does not speak TLS."""


def about(failure: Failure, reference: Reference) -> LinkspanError:
    """A registry's refusal in dockerd's words."""
    name, code = reference.familiar_repository, failure.code
    cause = f"{code.lower().replace('_', ' ')}: {failure.message}" if code else failure.message
    if code == "DENIED" or failure.status in (401, 403):
        return NotFound(
            f"pull access denied for {name}, repository does not exist or may require 'docker login': {cause}"
        )
    if code == "NAME_UNKNOWN":
        return NotFound(f"repository {name} not found: {cause}")
    if code == "MANIFEST_UNKNOWN" or failure.status == 404:
        return NotFound(f"manifest for {reference.familiar} not found: {cause}")
    if failure.status == 429:
        return Internal(f"toomanyrequests: {failure.message}")
    return Internal(f"the registry {reference.registry} refused {reference.familiar}: {cause}")


def refused_push(failure: Failure, reference: Reference) -> LinkspanError:
    if failure.status in (401, 403):
        return Internal(
            "push access denied, repository does not exist or may require authorization: server message: "
            f"{failure.message}"
        )
    return Internal(f"the registry {reference.registry} refused {reference.familiar}: {failure.message}")


def login(server: str, credentials: Credentials, trust: Trust) -> str:
    """Docker's status text. Raises Unauthorized, Internal where the registry does not answer."""
    host = re.sub(r"^https?://", "", server).partition("/")[0] or DEFAULT_REGISTRY
    host = DEFAULT_REGISTRY if host == "index.docker.io" else host
    try:
        Registry(host, trust, credentials).check()
    except Failure as failure:
        if failure.status in (401, 403):
            reason = failure.message or "incorrect username or password"
            raise Unauthorized(f'Get "https://{host}/v2/": unauthorized: {reason}') from None
        raise Internal(f"login attempt to https://{host}/v2/ failed with status: {failure.status}") from None
    return "Login Succeeded"


def _pull(path: str) -> str:
    return f"repository:{path}:pull"


def _push(path: str) -> str:
    return f"repository:{path}:pull,push"


def _document(answer: http.client.HTTPResponse) -> bytes:
    try:
        found = answer.read(_LARGEST_DOCUMENT + 1)
    except (OSError, http.client.HTTPException) as error:
        raise Internal(f"the registry's answer broke off: {error}") from None
    if len(found) > _LARGEST_DOCUMENT:
        raise Internal(f"the registry's answer is larger than {_LARGEST_DOCUMENT >> 20} MiB")
    return found


def _failure(answer: http.client.HTTPResponse) -> Failure:
    status, text = answer.status, f"{answer.status} {answer.reason}"
    try:
        found = msgspec.json.decode(_document(answer), type=dict[str, Any])
        first = (found.get("errors") or [{}])[0]
        return Failure(status, str(first.get("code") or ""), str(first.get("message") or found.get("details") or text))
    except (msgspec.MsgspecError, LinkspanError, UnicodeDecodeError, AttributeError, LookupError, TypeError):
        return Failure(status, {404: "MANIFEST_UNKNOWN"}.get(status, ""), text)


def _reason(error: Exception, host: str) -> str:
    """In the words of dockerd's HTTP client, which people search for."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"tls: failed to verify certificate: x509: {error.verify_message or error}"
    if isinstance(error, ssl.SSLError):
        plain = any(word in str(error) for word in ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "record layer"))
        return "http: server gave HTTP response to HTTPS client" if plain else f"tls: {error.reason or error}"
    if isinstance(error, socket.gaierror):
        return f"dial tcp: lookup {host.partition(':')[0]}: no such host"
    if isinstance(error, TimeoutError):
        return f"dial tcp {host}: i/o timeout"
    if isinstance(error, OSError) and error.strerror:
        return f"dial tcp {host}: connect: {error.strerror.lower()}"
    return str(error) or type(error).__name__
