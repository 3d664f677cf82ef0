"""What the front doors get to see: records joined as a client wants to read them. Values, safe to keep."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from linkspan.model.cluster import Host, Remote
from linkspan.model.container import Container, ExecConfig
from linkspan.model.endpoint import Binding, Endpoint, Sandbox
from linkspan.model.image import Image
from linkspan.model.network import Network
from linkspan.model.volume import Volume


@dataclasses.dataclass(frozen=True, slots=True)
class Attachment:
    """A container's place on a network: `endpoint` is None while it does not run."""

    network: Network
    endpoint: Endpoint | None


@dataclasses.dataclass(frozen=True, slots=True)
class ContainerView:
    """A container with its sandbox and its places on networks, in the order of their interfaces."""

    container: Container
    sandbox: Sandbox | None
    attachments: tuple[Attachment, ...]
    image: Image | None  # None once the image is gone
    log_path: str
    hosts_path: str
    hostname_path: str
    resolv_conf_path: str
    exec_ids: tuple[str, ...] = ()
    links: tuple[str, ...] = ()  # /db:/web/database
    link_names: tuple[str, ...] = ()  # what those that are linked to it call it: /web/database


@dataclasses.dataclass(frozen=True, slots=True)
class Republished:
    """The bindings of a container that came, or went; and warnings."""

    bindings: tuple[Binding, ...]
    warnings: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class NetworkView:
    """`remotes` are the endpoints that other hosts of the cluster have on it; `own` is this host there."""

    network: Network
    endpoints: tuple[tuple[Container, Endpoint], ...]
    remotes: tuple[tuple[Host | None, Remote], ...] = ()
    own: Host | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class VolumeView:
    volume: Volume
    used_by: tuple[str, ...]  # container ids


@dataclasses.dataclass(frozen=True, slots=True)
class ImageView:
    image: Image
    containers: int  # how many containers were made from it
    mount_points: Mapping[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, slots=True)
class ExecView:
    id: str
    container_id: str
    config: ExecConfig
    running: bool
    exit_code: int | None
    pid: int
