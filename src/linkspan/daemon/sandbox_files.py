"""/etc/hosts, /etc/hostname and /etc/resolv.conf of a container, on the disk.

They are bind-mounted into the container, so that they are rewritten in place: a new file of the same name would be
another file. A container that shares another's sandbox shares its files too.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterable
from pathlib import Path

from linkspan.containers.files import edited_hosts, host_gateways, hosts_rows, hosts_text, resolv_conf_text
from linkspan.errors import Internal
from linkspan.model.container import Container
from linkspan.model.snapshot import Snapshot

log = logging.getLogger(__name__)
HOST_RESOLV_CONF = Path("/etc/resolv.conf")
# Where a local stub such as systemd-resolved stands in /etc/resolv.conf, it lists the real servers here.
STUB_RESOLV_CONF = Path("/run/systemd/resolve/resolv.conf")


@dataclasses.dataclass(frozen=True, slots=True)
class Names:
    """The daemon's own flags about names."""

    dns: tuple[str, ...] = ()
    dns_search: tuple[str, ...] = ()
    dns_options: tuple[str, ...] = ()
    host_gateways: tuple[str, ...] = ()


class SandboxFiles:
    def __init__(self, folder: Path, names: Names) -> None:
        """`folder` holds one folder for each container, by id."""
        self._folder, self._names = folder, names

    def hosts(self, container_id: str) -> Path:
        return self._folder / container_id / "hosts"

    def hostname(self, container_id: str) -> Path:
        return self._folder / container_id / "hostname"

    def resolv_conf(self, container_id: str) -> Path:
        return self._folder / container_id / "resolv.conf"

    def write(self, snapshot: Snapshot, container: Container) -> None:
        """All three. Raises Internal, and InvalidArgument for an --add-host that means nothing."""
        config, host = container.config, container.host_config
        servers = host.dns or self._names.dns
        resolv = resolv_conf_text(
            _host_resolv_conf(host.network_mode == "host"),
            servers=servers,
            search=host.dns_search or self._names.dns_search,
            options=host.dns_options or self._names.dns_options,
            keep_loopback=host.network_mode == "host",
        )
        self._put(self.hostname(container.id), config.hostname + "\n")
        self._put(self.resolv_conf(container.id), resolv)
        in_host = host.network_mode == "host"
        text = hosts_text(self._rows(snapshot, container, fixed=not in_host))
        self._put(self.hosts(container.id), _read(Path("/etc/hosts")) + text if in_host else text)

    def follow(self, before: Snapshot, after: Snapshot, container_ids: Iterable[str]) -> None:
        """/etc/hosts of the containers, and of those that are linked to them, once their addresses or names changed.

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
            rows = self._rows(before, old), self._rows(after, new)
            if rows[0] != rows[1]:
                path = self.hosts(id_)
                try:
                    self._put(path, edited_hosts(_read(path), *rows))
                except Internal as error:
                    log.error("%s", error)

    def _rows(self, snapshot: Snapshot, container: Container, *, fixed: bool = True) -> list[tuple[str, str]]:
        gateways = host_gateways(snapshot, container, self._names.host_gateways)
        return hosts_rows(snapshot, container, gateways, fixed=fixed)

    def _put(self, path: Path, text: str) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o710)
            with path.open("w") as file:
                file.write(text)
            path.chmod(0o644)
        except OSError as error:
            raise Internal(f"cannot write {path}: {error.strerror}") from error


def _host_resolv_conf(as_it_is: bool) -> str:
    text = _read(HOST_RESOLV_CONF)
    if not as_it_is and "nameserver 127.0.0.53" in text and STUB_RESOLV_CONF.exists():
        return _read(STUB_RESOLV_CONF)
    return text


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
