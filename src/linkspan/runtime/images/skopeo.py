"""A registry, spoken to by skopeo: manifests, layers, pushes, logging in; and its errors in dockerd's words.

Whom to trust is dockerd's: TLS with verification; `--insecure-registry` hosts, networks, and loopback may be without
verification or plain HTTP; certificates in /etc/docker/certs.d/<host:port>, where skopeo looks by itself.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import ipaddress
import json
import os
import re
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec

from linkspan.errors import Internal, LinkspanError, NotFound, Unauthorized, Unavailable, Unsupported
from linkspan.model.reference import DEFAULT_REGISTRY, Reference

ANSWER_TIMEOUT = 60.0  # seconds for the answer to a question; transfers are watched by those who wait for them
PACE = 0.1  # seconds between two looks at how far a transfer is
_ATTEMPTS = 5  # of one pull, which goes on with the layers that have not come
_HUB = "registry-1.docker.io"
# What skopeo may know of this process: no file of the administrator's own credentials is named there.
_ENVIRONMENT = ("PATH", "SSL_CERT_FILE", "SSL_CERT_DIR", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")
_LONGEST_LINE = 1 << 20  # bytes of what skopeo says

Heard = Callable[[str], None]
Reading = Callable[[str, int], None]


class Credentials(msgspec.Struct, frozen=True, kw_only=True, rename="lower"):
    """What `docker login` keeps, as X-Registry-Auth carries it."""

    username: str = ""
    password: str = ""
    identitytoken: str = ""
    registrytoken: str = ""


def parse_auth(header: str) -> Credentials:
    """The X-Registry-Auth header: base64url of JSON; anything else means nobody, as for Docker. Raises Unsupported."""
    if not header:
        return Credentials()
    try:
        plain = header.rstrip("=").replace("-", "+").replace("_", "/")
        text = base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
        found = msgspec.json.decode(text, type=Credentials) if text.strip() else Credentials()
    except (ValueError, msgspec.MsgspecError):
        return Credentials()
    if found.registrytoken:  # skopeo takes it on its command line alone, where every process can read it
        raise Unsupported("X-Registry-Auth with a registrytoken: use a user name with a password or an identitytoken")
    return found


class Trust:
    """Which registries may be spoken to without TLS, or without looking at their certificate."""

    def __init__(self, insecure: Sequence[str]) -> None:
        """`insecure` are hosts, host:port or CIDRs."""
        self._insecure = tuple(insecure)

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


class Registry:
    """One repository in its registry, as one client with its credentials."""

    def __init__(self, reference: Reference, trust: Trust, credentials: Credentials, staging: Path) -> None:
        """Files that skopeo needs, of credentials among them, are in `staging` while it runs."""
        self._reference, self._credentials, self._staging = reference, credentials, staging
        self._place = f"docker://{reference.repository}"
        # Said only where it is false: a word on it would overrule the host's registries.conf, which may name a mirror
        # that is spoken to without TLS.
        self._insecure = trust.insecure(reference.registry)

    # -- questions ----------------------------------------------------------------------------------------------------

    async def manifest(self, tag_or_digest: str) -> bytes:
        return await self._ask("inspect", "--raw", *self._tls(), self._at(tag_or_digest))

    async def config(self, manifest_digest: str) -> bytes:
        return await self._ask("inspect", "--raw", "--config", *self._tls(), self._at(manifest_digest))

    async def tags(self) -> list[str]:
        found = msgspec.json.decode(await self._ask("list-tags", *self._tls(), self._place))
        return [str(tag) for tag in found["Tags"] or ()]

    async def login(self) -> None:
        """Raises as `refusal` says where the credentials are not good."""
        mine = self._credentials
        # It writes what it was given to the file: the throw-away one.
        arguments = [f"--username={mine.username}", "--password-stdin", *self._tls()]
        await self._ask("login", *arguments, "--", self._reference.registry, text=mine.password)

    # -- transfers ----------------------------------------------------------------------------------------------------

    async def fetch(self, manifest_digest: str, folder: Path, *, convert: bool, exact: bool) -> None:
        """Copies the layers into `folder`/sha256, each under its name when it is whole and found to be good.

        `convert`: what is there already is not fetched, at the price of another manifest beside it, which nobody
        reads; `exact`: skopeo is to fail rather than to change a manifest or a layer.
        """
        target = ["--dest-shared-blob-dir=.", "oci:layout:x"] if convert else ["dir:sha256"]
        keep = ["--preserve-digests"] if exact else []
        await self._persist("copy", *keep, *self._tls("src-"), self._at(manifest_digest), *target, cwd=folder)

    async def send(self, folder: Path, tag: str, *, exact: bool, heard: Heard, reading: Reading) -> None:
        """Pushes the image that is laid out as skopeo's dir: in `folder`/image; its digest is then in `folder`/digest.

        Layers that are plain tars are compressed, unless `exact`. `heard` gets skopeo's log; `reading` the names of
        the files that it is reading, and how many bytes of each it has read.
        """
        keep = ["--preserve-digests"] if exact else []
        arguments = [*keep, "--digestfile=digest", *self._tls("dest-"), "dir:image", self._at(tag)]
        await self._run("copy", *arguments, cwd=folder, heard=heard, reading=reading, pushing=True)

    # -- the process --------------------------------------------------------------------------------------------------

    def _tls(self, side: str = "") -> list[str]:
        return [f"--{side}tls-verify=false"] if self._insecure else []

    def _at(self, tag_or_digest: str) -> str:
        return f"{self._place}{'@' if ':' in tag_or_digest else ':'}{tag_or_digest}"

    async def _ask(self, *arguments: str, text: str = "") -> bytes:
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT):
                return await self._persist(*arguments, text=text)
        except TimeoutError:
            raise self.silent() from None

    def silent(self) -> LinkspanError:
        return Internal(f'Get "https://{_host(self._reference)}/v2/": i/o timeout')

    async def _persist(self, *arguments: str, cwd: Path | None = None, text: str = "") -> bytes:
        """As `_run`, and again where the registry breaks off in the middle: skopeo itself gives up then."""
        for attempt in range(1, _ATTEMPTS):
            with contextlib.suppress(_BrokeOff):
                return await self._run(*arguments, cwd=cwd, text=text)
            await asyncio.sleep(0.2 * attempt)
        return await self._run(*arguments, cwd=cwd, text=text)

    async def _run(
        self,
        *arguments: str,
        cwd: Path | None = None,
        text: str = "",
        heard: Heard | None = None,
        reading: Reading | None = None,
        pushing: bool = False,
    ) -> bytes:
        """Standard output. Raises as `refusal` says; a caller that is cancelled ends it."""
        with self._home() as home:
            process = await self._start(["--debug"] if heard else [], arguments, home, cwd)
            watching = asyncio.create_task(_watch(process.pid, reading)) if reading else None
            assert process.stdin and process.stdout and process.stderr
            output = asyncio.create_task(process.stdout.read())
            last = ""
            try:
                process.stdin.write(text.encode())
                process.stdin.close()
                async for line in process.stderr:
                    last = line.decode(errors="replace").strip() or last
                    if heard:
                        heard(last)
                found = await output
                await process.wait()
            finally:
                if watching:
                    watching.cancel()
                output.cancel()
                await _end(process)
        if process.returncode:
            raise refusal(last, self._reference, pushing=pushing)
        return found

    @contextlib.contextmanager
    def _home(self) -> Iterator[Path]:
        """Where skopeo finds the credentials, and leaves what is only of use to itself."""
        with contextlib.ExitStack() as stack:
            try:
                folder = tempfile.TemporaryDirectory(dir=self._staging, ignore_cleanup_errors=True)
                home = Path(stack.enter_context(folder))
                (home / "auth.json").touch(mode=0o600)
                (home / "auth.json").write_text(json.dumps({"auths": self._secrets()}))
            except OSError as error:
                raise Internal(f"write {self._staging}: {(error.strerror or str(error)).lower()}") from None
            yield home

    def _secrets(self) -> dict[str, dict[str, str]]:
        mine = self._credentials
        if not (mine.username or mine.identitytoken):
            return {}
        pair = base64.b64encode(f"{mine.username}:{mine.password}".encode()).decode()
        token = {"identitytoken": mine.identitytoken} if mine.identitytoken else {}
        return {self._reference.registry: {"auth": pair, **token}}

    @staticmethod
    async def _start(
        general: Sequence[str], arguments: Sequence[str], home: Path, cwd: Path | None
    ) -> asyncio.subprocess.Process:
        environment = {name: value for name, value in os.environ.items() if name.upper() in _ENVIRONMENT}
        # A daemon that is killed takes it along, before the next one sweeps its files away.
        program = ["setpriv", "--pdeathsig=KILL", "skopeo", "--insecure-policy", f"--tmpdir={home}", *general]
        try:
            return await asyncio.create_subprocess_exec(
                *program,
                arguments[0],
                f"--authfile={home}/auth.json",
                *arguments[1:],
                cwd=cwd,
                env={**environment, "HOME": str(home), "TMPDIR": str(home)},
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                limit=_LONGEST_LINE,
            )
        except OSError as error:
            raise Unavailable(f"skopeo, which speaks to registries, cannot be run: {error.strerror}") from None


async def login(server: str, credentials: Credentials, trust: Trust, staging: Path) -> str:
    """Docker's status text. Raises Unauthorized, Internal where the registry does not answer."""
    host = re.sub(r"^https?://", "", server).partition("/")[0] or DEFAULT_REGISTRY
    host = DEFAULT_REGISTRY if host in ("index.docker.io", _HUB) else host
    try:
        await Registry(Reference(host, "login"), trust, credentials, staging).login()
    except _Denied as denied:
        raise Unauthorized(f'Get "https://{host}/v2/": {denied.cause}') from None
    return "Login Succeeded"


async def _watch(pid: int, reading: Reading) -> None:
    """Until cancelled. Where a process is in its files, the kernel says."""
    while True:
        await asyncio.sleep(PACE)
        with contextlib.suppress(OSError):  # it ends
            for descriptor in list(Path(f"/proc/{pid}/fd").iterdir()):
                with contextlib.suppress(OSError):  # it closes a file
                    name = descriptor.readlink().name
                    position = Path(f"/proc/{pid}/fdinfo/{descriptor.name}").read_text().split(maxsplit=2)[1]
                    reading(name, int(position))


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
    await process.wait()
    # The transport closes in the loop's next round; without it, it would be closed by the collector.
    process._transport.close()  # type: ignore[attr-defined]


# -- errors -----------------------------------------------------------------------------------------------------------


class _Denied(NotFound):
    """The registry wants other credentials; to dockerd's clients, the repository may not be there."""

    cause = ""


class _BrokeOff(Internal):
    """The registry ended a transfer in the middle."""


def refusal(said: str, reference: Reference, *, pushing: bool = False) -> LinkspanError:
    """skopeo's last line in dockerd's words, and of our kinds."""
    message, name = _message(said), reference.familiar_repository
    low = message.lower()
    if "no space left on device" in low or "disk quota exceeded" in low:
        return Internal(f"{reference.familiar} cannot be stored: no space left on device")
    if message.startswith("setpriv:"):
        return Unavailable(f"skopeo, which speaks to registries, cannot be run: {message}")
    if "digest did not match" in low and (found := re.search(r"expected (sha256:\w+)", message)):
        return Internal(f"filesystem layer verification failed for digest {found[1]}")
    if "manifest does not match provided manifest digest" in low:
        return Internal(f"manifest verification failed for digest {reference.digest}")
    if found := re.search(r"toomanyrequests: .*", message):
        return Internal(found[0])
    if found := re.search(r'\w+ "https?://[^"]+": .*', message):
        return Internal(_network(found[0]))
    if re.search(r"denied|unauthorized|invalid username/password|authentication required", low):
        return _denied(message, name, pushing=pushing)
    if "name unknown" in low or "fetching tags list: invalid status code from registry 404" in low:
        return NotFound(f"repository {name} not found: name unknown: repository name not known to registry")
    if "manifest unknown" in low:
        return NotFound(f"manifest for {reference.familiar} not found: manifest unknown: manifest unknown")
    if found := re.search(r"invalid status code from registry (\d+ .*)", message):
        status = found[1].replace("(", "").replace(")", "")
        return Internal(f"registry {reference.registry}: received unexpected HTTP status: {status}")
    text = f"the registry {reference.registry} refused {reference.familiar}: {message}"
    return _BrokeOff(text) if "unexpected EOF" in message or "connection reset" in low else Internal(text)


def _denied(message: str, name: str, *, pushing: bool) -> LinkspanError:
    found = re.search(r"denied: .*", message) or re.search(r"unauthorized: .*", message)
    cause = found[0] if found else "unauthorized: incorrect username or password"
    if pushing:
        return Internal(
            "push access denied, repository does not exist or may require authorization: "
            f"server message: {cause.partition(': ')[2]}"
        )
    denied = _Denied(f"pull access denied for {name}, repository does not exist or may require 'docker login': {cause}")
    denied.cause = cause
    return denied


def _network(text: str) -> str:
    """Go's HTTP client says it as it does for dockerd; only that an insecure registry has been asked twice."""
    text = re.sub(r'"http://([^/"]+/v2/")', r'"https://\1', text)
    return text.replace(
        "tls: first record does not look like a TLS handshake", "http: server gave HTTP response to HTTPS client"
    )


def _message(line: str) -> str:
    """The text of a logged line: time="…" level=fatal msg="…"."""
    text = line.strip().partition("msg=")[2] or line.strip()
    with contextlib.suppress(ValueError):
        return str(json.JSONDecoder(strict=False).raw_decode(text)[0])
    return text or "skopeo was killed"


def _host(reference: Reference) -> str:
    return _HUB if reference.registry == DEFAULT_REGISTRY else reference.registry
