"""Running skopeo: what it may read, where it may write, and what its errors mean."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import ipaddress
import json
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

from linkspan.errors import Internal, InvalidArgument, LinkspanError, NotFound, Unauthorized, Unavailable
from linkspan.model.reference import DEFAULT_REGISTRY, Reference

Progress = dict[str, Any]
_ANSWER_TIMEOUT = 60.0  # seconds for a registry to answer a question; a transfer may take as long as it needs
_HUB = "https://index.docker.io/v1/"


class Skopeo:
    def __init__(self, root: Path, run: Path, insecure: Sequence[str]) -> None:
        """`root` and `run` are containers-storage's; `insecure` registries are host:port or CIDR prefixes."""
        self.storage = f"[overlay@{root}+{run}]"
        self._insecure, self._root = tuple(insecure), root
        program = shutil.which("skopeo")
        if program is None:
            raise Unavailable("skopeo is not installed: it moves images between registries and this host")
        self._program = program

    def stored(self, name: str) -> str:
        """How skopeo names an image of the store; `name` may be `@<image id>`."""
        return f"containers-storage:{self.storage}{name}"

    async def ask(self, *arguments: str, about: Reference | None = None) -> bytes:
        """Standard output of a command that is answered at once. Raises as `failure` says."""
        with self.workspace() as folder:
            process = await self._start(arguments, folder)
            try:
                output, error = await asyncio.wait_for(process.communicate(), _ANSWER_TIMEOUT)
            except TimeoutError:
                raise failure("i/o timeout", about) from None
            finally:
                await _end(process)
        if process.returncode:
            raise failure(error.decode(errors="replace"), about)
        return output

    async def lines(self, *arguments: str, about: Reference | None = None) -> AsyncIterator[str]:
        """Lines of standard output as they come. Raises as `failure` says; ended early, so is the transfer."""
        with self.workspace() as folder:
            process = await self._start(arguments, folder)
            assert process.stdout and process.stderr
            error = asyncio.create_task(process.stderr.read())
            try:
                async for line in process.stdout:
                    yield line.decode(errors="replace").rstrip()
                await process.wait()
                if process.returncode:
                    raise failure((await error).decode(errors="replace"), about)
            finally:
                await _end(process)
                error.cancel()

    async def _start(self, arguments: Sequence[str], folder: Path) -> asyncio.subprocess.Process:
        # No file of the administrator's own credentials, and temporary files on the store's own disk.
        env = {"PATH": os.environ.get("PATH", os.defpath), "HOME": str(folder), "TMPDIR": str(folder)}
        env |= {k: v for k, v in os.environ.items() if k.lower() in ("http_proxy", "https_proxy", "no_proxy")}
        try:
            return await asyncio.create_subprocess_exec(
                self._program,
                "--insecure-policy",
                "--tmpdir",
                str(folder),
                *arguments,
                env=env,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
            )
        except OSError as error:
            raise Internal(f"cannot run {self._program}: {error.strerror}") from error

    @contextlib.contextmanager
    def workspace(self) -> Any:
        """A directory beside the store; those that a killed daemon left are swept when the store is opened."""
        parent = self._root.parent / "transfers"
        try:
            parent.mkdir(exist_ok=True, mode=0o700)
            folder = Path(tempfile.mkdtemp(dir=parent))
        except OSError as error:
            raise Internal(f"cannot make a directory in {parent}: {error.strerror}") from error
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def sweep(self) -> None:
        shutil.rmtree(self._root.parent / "transfers", ignore_errors=True)

    def verifies(self, registry: str) -> bool:
        """Whether a registry has to speak TLS with a good certificate. Loopback never has to, as with Docker."""
        host = registry.rpartition(":")[0] if ":" in registry.rpartition("]")[2] else registry
        host = host.strip("[]")
        if registry in self._insecure or host in self._insecure or host == "localhost":
            return False
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            return True
        prefixes = [ipaddress.ip_network(p, strict=False) for p in self._insecure if "/" in p]
        return not (address.is_loopback or any(address in prefix for prefix in prefixes))

    @contextlib.contextmanager
    def access(self, reference: Reference, auth: str, side: str = "") -> Any:
        """Arguments that give access to a reference's registry; `side` is src, dest or "". The file is root's alone."""
        credentials = parse_auth(auth)
        with self.workspace() as folder:
            file = folder / "auth.json"
            content: dict[str, Any] = {"auths": {}}
            if credentials.get("username"):
                pair = f"{credentials['username']}:{credentials.get('password', '')}"
                content["auths"][reference.registry] = {"auth": base64.b64encode(pair.encode()).decode()}
            elif credentials.get("identitytoken"):
                content["auths"][reference.registry] = {"identitytoken": credentials["identitytoken"]}
            file.touch(mode=0o600)
            file.write_text(json.dumps(content))
            prefix = f"--{side}-" if side else "--"
            yield [
                f"{prefix}authfile" if side else "--authfile",
                str(file),
                f"{prefix}tls-verify={'true' if self.verifies(reference.registry) else 'false'}",
            ]


def parse_auth(header: str) -> dict[str, str]:
    """The X-Registry-Auth header: base64url JSON. Raises InvalidArgument."""
    if not header:
        return {}
    try:
        found = json.loads(base64.urlsafe_b64decode(header + "=" * (-len(header) % 4)))
        return {str(key): str(value) for key, value in found.items()} if found else {}
    except (ValueError, AttributeError):
        raise InvalidArgument("X-Registry-Auth is not base64 of a JSON object") from None


def failure(text: str, about: Reference | None) -> LinkspanError:
    """skopeo's standard error in Docker's words, and of our kinds."""
    message = _last_message(text)
    low = message.lower()
    name = about.familiar if about else "image"
    if "no space left" in low or "disk quota" in low:
        return Internal(f"no space left on device while storing {name}: free some, or choose another --data-root")
    if about is None:
        return Internal(message)
    if "manifest unknown" in low or "no image found" in low:
        return NotFound(f"manifest for {name} not found: manifest unknown: manifest unknown")
    denied = ("denied", "unauthorized", "authentication required", "name unknown", "repository name not known")
    if any(word in low for word in denied):
        if "incorrect username or password" in low:
            return Unauthorized(f"unauthorized: incorrect username or password for {about.registry}")
        return NotFound(
            f"pull access denied for {about.familiar_repository}, repository does not exist or may require "
            "'docker login': denied: requested access to the resource is denied"
        )
    if "no child with platform" in low or "no image satisfying" in low or "choosing an image" in low:
        return NotFound(f"no matching manifest for this platform in the manifest list entries of {name}")
    if any(word in low for word in ("dial tcp", "no such host", "timeout", "connection refused", "deadline", "x509")):
        host = "registry-1.docker.io" if about.registry == DEFAULT_REGISTRY else about.registry
        reason = message.rpartition('": ')[2] if '": ' in message else message
        return Internal(f'Get "https://{host}/v2/": {reason}')
    return Internal(f"{name}: {message}")


def _last_message(text: str) -> str:
    """The text of the last logged error: time="…" level=fatal msg="…"."""
    line = next(
        (line for line in reversed(text.strip().splitlines()) if "msg=" in line), text.strip() or "no reason given"
    )
    message = line.partition("msg=")[2] or line
    if message.startswith('"'):
        with contextlib.suppress(ValueError):
            return str(json.JSONDecoder().raw_decode(message)[0])
    return message


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
