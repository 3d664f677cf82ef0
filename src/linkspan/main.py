"""linkspand: the composition root. Reads the configuration, makes the daemon, and opens its front door."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import faulthandler
import logging
import os
import resource
import signal
import ssl
import sys
from collections.abc import Iterator
from pathlib import Path

from linkspan import __version__
from linkspan.api.server import Listener
from linkspan.api.server import serve as open_front_door
from linkspan.daemon.configuration import Configuration, parse_arguments
from linkspan.daemon.daemon import Daemon
from linkspan.daemon.systemd import notify_systemd
from linkspan.errors import Conflict, InvalidArgument, LinkspanError

log = logging.getLogger("linkspan")
_LEVELS = {"debug": "DEBUG", "info": "INFO", "warn": "WARNING", "error": "ERROR", "fatal": "CRITICAL"}


def linkspand() -> None:
    """The command. Exit status 1, with one line on standard error, where it cannot start."""
    try:
        configuration = parse_arguments(sys.argv[1:])
        logging.basicConfig(
            level=_LEVELS[configuration.log_level], format="%(levelname)s %(message)s", stream=sys.stderr
        )
        if configuration.validate:
            print("configuration OK", file=sys.stderr)
            return
        for name, value in configuration.proxies:
            os.environ[name] = os.environ[name.upper()] = value
        if os.geteuid() != 0:
            raise Conflict("linkspand makes namespaces and network devices: it has to be started as root")
        # One descriptor for each published port: the soft limit is usually 1,024.
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        with pidfile(configuration.pidfile):
            asyncio.run(serve(configuration))
    except LinkspanError as error:
        print(f"linkspand: {error}", file=sys.stderr)
        sys.exit(1)
    except OSError as error:  # a folder that cannot be written, say
        log.debug("cannot start", exc_info=error)
        where = f"{error.filename}: " if error.filename else ""
        print(f"linkspand: cannot start: {where}{error.strerror or error}{_lacking(error)}", file=sys.stderr)
        sys.exit(1)


def _lacking(error: OSError) -> str:
    """What to do where root may not do what root may."""
    if error.errno != errno.EPERM:
        return ""
    return ": it needs root's capabilities, among them CAP_NET_ADMIN and CAP_SYS_ADMIN (in a container: --privileged)"


async def serve(configuration: Configuration) -> None:
    """Runs until SIGTERM or SIGINT; SIGHUP (`systemctl reload`) makes it read its configuration again and look the
    kernel over.

    SIGUSR1 prints what every thread is doing, as with dockerd: also where the event loop does not come round any more.
    Where it does, what every task of it waits for follows.
    """
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGUSR1, _print_tasks)
    faulthandler.register(signal.SIGUSR1, all_threads=True, chain=True)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    daemon = Daemon(configuration)
    loop.add_signal_handler(signal.SIGHUP, lambda: reload(daemon))
    try:
        await daemon.start()
        server = await open_front_door(daemon, listeners(configuration))
        try:
            log.info("linkspand %s is ready", __version__)
            notify_systemd("READY=1")
            await stopped.wait()
            notify_systemd("STOPPING=1")
        finally:
            await server.close()
    finally:
        await daemon.close()


def _print_tasks() -> None:
    """The innermost places of every task, on standard error."""
    for task in asyncio.all_tasks():
        task.print_stack(limit=12, file=sys.stderr)
    sys.stderr.flush()


def reload(daemon: Daemon) -> None:
    """What can change of the configuration without a restart, read again; and a look over the kernel."""
    try:
        wanted = parse_arguments(sys.argv[1:])
    except LinkspanError as error:
        log.error("the configuration is not reloaded: %s", error)
    else:
        daemon.reload(wanted)
        logging.getLogger().setLevel(_LEVELS[wanted.log_level])
    daemon.look_over()


def listeners(configuration: Configuration) -> list[Listener]:
    """Raises InvalidArgument where the TLS files cannot be used."""
    context = None
    if tls := configuration.tls:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        files = f"--tlscert {tls.certificate} with --tlskey {tls.key}"
        try:
            context.load_cert_chain(tls.certificate, tls.key)
            if tls.verify:
                files = f"--tlscacert {tls.ca}"
                context.load_verify_locations(tls.ca)
                context.verify_mode = ssl.CERT_REQUIRED
        except OSError as error:  # SSLError is one
            raise InvalidArgument(f"cannot use {files}: {error.strerror or error}") from None
    return [Listener(host, context if host.startswith("tcp:") else None) for host in configuration.hosts]


@contextlib.contextmanager
def pidfile(path: Path | None) -> Iterator[None]:
    """Holds the file for as long as the daemon runs. Raises Conflict where another daemon does."""
    if path is None:
        yield
        return
    with contextlib.suppress(OSError, ValueError):
        other = int(path.read_text())
        if other != os.getpid() and b"linkspand" in Path(f"/proc/{other}/cmdline").read_bytes():
            raise Conflict(
                f"process {other} is a linkspand already (pid file {path}): stop it first, or give it its flags in "
                "daemon.json, and restart it"
            )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{os.getpid()}\n")
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
