"""/etc/hosts, /etc/hostname and /etc/resolv.conf of a container, on the disk.

They are bind-mounted into the container, so that they are rewritten in place: a new file of the same name would be
another file. A container that shares another's sandbox shares its files too.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Sequence
from pathlib import Path

from linkspan.containers.files import edited_hosts, host_gateways, hosts_rows, hosts_text, resolv_conf_text
from linkspan.engine.names import NameSettings, resolves
from linkspan.errors import Internal, LinkspanError
from linkspan.kernel.redirect import ADDRESS
from linkspan.model.container import Container
from linkspan.model.snapshot import Snapshot

log = logging.getLogger(__name__)
HOST_RESOLV_CONF = Path("/etc/resolv.conf")
# Where a local stub such as systemd-resolved stands in /etc/resolv.conf, it lists the real servers here.
STUB_RESOLV_CONF = Path("/run/systemd/resolve/resolv.conf")


class SandboxFiles:
    def __init__(self, folder: Path, names: NameSettings, host_gateways: Sequence[str]) -> None:
        """`folder` holds one folder for each container, by id; `host_gateways` is what the daemon's flag says."""
        self._folder, self._names, self._host_gateways = folder, names, host_gateways

    def hosts(self, container_id: str) -> Path:
        return self._folder / container_id / "hosts"

    def hostname(self, container_id: str) -> Path:
        return self._folder / container_id / "hostname"

    def resolv_conf(self, container_id: str) -> Path:
        return self._folder / container_id / "resolv.conf"

    def write(self, snapshot: Snapshot, container: Container) -> None:
        """All three. Raises Internal, and InvalidArgument for an --add-host that means nothing."""
        in_host = container.host_config.network_mode == "host"
        self._put(self.hostname(container.id), container.config.hostname + "\n")
        self._put_resolv_conf(snapshot, container)
        text = hosts_text(self._rows(snapshot, container, fixed=not in_host))
        self._put(self.hosts(container.id), _read(Path("/etc/hosts")) + text if in_host else text)

    def follow(self, before: Snapshot, after: Snapshot, container_ids: Iterable[str]) -> None:
        """/etc/hosts of the containers, and of those that are linked to them, once their addresses or names changed;
        and /etc/resolv.conf where the resolver came or went, unless the user has edited it.

        What cannot be written is said in the log: the change itself has come about.
        """
        ids = list(dict.fromkeys(container_ids))
        linked = (one for id_ in ids for one in after.linked_by.get(id_, ()))
        for id_ in dict.fromkeys((*ids, *linked)):
            old, new = before.containers.get(id_), after.containers.get(id_)
            if old is None or new is None or new.host_config.network_mode == "host":
                continue
            if before.sandbox(old) is None or after.sandbox(new) is None:
                continue  # it starts and has its files written then, or has ended
            try:
                rows = self._rows(before, old), self._rows(after, new)
                if rows[0] != rows[1]:
                    path = self.hosts(id_)
                    self._put(path, edited_hosts(_read(path), *rows))
                if _resolves(before, old) != _resolves(after, new) and not self._edited(id_):
                    self._put_resolv_conf(after, new)
            except LinkspanError as error:
                log.error("the files of container %s: %s", new.name, error)

    def _rows(self, snapshot: Snapshot, container: Container, *, fixed: bool = True) -> list[tuple[str, str]]:
        gateways = host_gateways(snapshot, container, self._host_gateways)
        return hosts_rows(snapshot, container, gateways, fixed=fixed)

    def _put_resolv_conf(self, snapshot: Snapshot, container: Container) -> None:
        host, names = container.host_config, self._names
        in_host, resolver = host.network_mode == "host", _resolves(snapshot, container)
        text = resolv_conf_text(
            _host_resolv_conf(as_it_is=in_host or resolver),
            servers=host.dns or names.servers,
            search=host.dns_search or names.search,
            options=host.dns_options or names.options,
            resolver=ADDRESS if resolver else "",
            keep_loopback=in_host,
        )
        self._put(self.resolv_conf(container.id), text)
        self._put(self._digest_path(container.id), _digest(text))

    def _edited(self, container_id: str) -> bool:
        """Whether the user has edited resolv.conf since we wrote it; one of which we do not know counts as such."""
        return _read(self._digest_path(container_id)) != _digest(_read(self.resolv_conf(container_id)))

    def _digest_path(self, container_id: str) -> Path:
        return self._folder / container_id / "resolv.conf.digest"

    def _put(self, path: Path, text: str) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o710)
            with path.open("w") as file:
                file.write(text)
            path.chmod(0o644)
        except OSError as error:
            raise Internal(f"cannot write {path}: {error.strerror}") from error


def _resolves(snapshot: Snapshot, container: Container) -> bool:
    sandbox = snapshot.sandbox(container)
    return sandbox is not None and resolves(snapshot, sandbox)


def _host_resolv_conf(*, as_it_is: bool) -> str:
    text = _read(HOST_RESOLV_CONF)
    if not as_it_is and "nameserver 127.0.0.53" in text and STUB_RESOLV_CONF.exists():
        return _read(STUB_RESOLV_CONF)
    return text


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
