"""/etc/hosts, /etc/hostname and /etc/resolv.conf of a container, on the disk.

They are bind-mounted into the container, so that they are rewritten in place: a new file of the same name would be
another file. A container that shares another's sandbox shares its files too.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from linkspan.containers.files import hosts_text, parse_extra_host, resolv_conf_text
from linkspan.errors import Internal
from linkspan.model.container import Container
from linkspan.model.endpoint import Endpoint

HOST_RESOLV_CONF = Path("/etc/resolv.conf")
# Where a local stub such as systemd-resolved stands in /etc/resolv.conf, it lists the real servers here.
STUB_RESOLV_CONF = Path("/run/systemd/resolve/resolv.conf")


@dataclasses.dataclass(frozen=True, slots=True)
class Names:
    """The daemon's own flags about names."""

    dns: tuple[str, ...] = ()
    dns_search: tuple[str, ...] = ()
    dns_options: tuple[str, ...] = ()
    host_gateway: str = ""


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

    def write(self, container: Container, endpoints: Sequence[Endpoint], gateway: str) -> None:
        """All three. `gateway` is what host-gateway means unless a flag says otherwise. Raises Internal."""
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
        self.write_hosts(container, endpoints, gateway)

    def write_hosts(self, container: Container, endpoints: Sequence[Endpoint], gateway: str) -> None:
        config = container.config
        name = config.hostname
        names = f"{name}.{config.domainname} {name}" if config.domainname else name
        host_gateway = self._names.host_gateway or gateway
        extra = [parse_extra_host(text, host_gateway) for text in container.host_config.extra_hosts or ()]
        addresses = [e.address for e in endpoints if e.address]
        if container.host_config.network_mode == "host":
            text = _read(Path("/etc/hosts")) + "".join(f"{address}\t{known}\n" for known, address in extra)
        else:
            text = hosts_text(addresses, names, extra)
        self._put(self.hosts(container.id), text)

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
