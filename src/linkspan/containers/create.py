"""From a request and an image to a container's record."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import msgspec

from linkspan.containers import health, logging
from linkspan.containers.files import parse_extra_host
from linkspan.containers.limits import check_limits, check_modes
from linkspan.containers.mounts import resolve_mounts
from linkspan.containers.names import check_name
from linkspan.containers.signals import parse_signal
from linkspan.engine.attachment import check_settings
from linkspan.engine.identity import claim_warnings
from linkspan.engine.join import port_requests
from linkspan.engine.links import resolve_links
from linkspan.errors import Conflict, InvalidArgument, NotFound
from linkspan.ipam.names import parse_mac
from linkspan.model.container import Config, Container, EndpointSettings, HostConfig, LogConfig
from linkspan.model.image import Image, ImageConfig
from linkspan.model.network import Network
from linkspan.model.port import parse_container_ports
from linkspan.model.resolv_conf import check_overrides
from linkspan.model.snapshot import Snapshot

_RUNTIMES = ("", "runc", "io.containerd.runc.v2")
DEFAULT_SHM = 64 * 1024 * 1024


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class CreateRequest:
    """`POST /containers/create`. `id`, `created` come from the caller, which has randomness and a clock."""

    id: str
    created: str
    name: str
    config: Config
    host_config: HostConfig
    networks: Mapping[str, EndpointSettings]  # by the name the user typed
    image: Image
    hostname: str  # the host's own, for --net=host
    processors: frozenset[int]  # numbers of those online
    log_config: LogConfig = logging.DEFAULT  # of who names no driver


def create(snapshot: Snapshot, request: CreateRequest) -> tuple[Container, tuple[str, ...]]:
    """The record and warnings. Raises InvalidArgument, Conflict (the name is taken), NotFound (a network)."""
    name = check_name(request.name)
    if holder := snapshot.container_names.get(name):
        raise name_in_use(name, holder)
    host = _host_config(snapshot, request)
    config = _merge(request.config, request.image.config)
    check_limits(host, request.processors)
    check_modes(host)
    if config.stop_signal:
        parse_signal(config.stop_signal)
    networks = _networks(snapshot, request, host)
    if host.network_mode == "bridge" and not networks:
        config = msgspec.structs.replace(config, network_disabled=True)
    warnings = _network_conflicts(request, host)
    config = _with_hostname(config, host, request)
    command = (*(config.entrypoint or ()), *(config.cmd or ()))
    if not command or not command[0]:
        raise InvalidArgument("no command specified")
    container = Container(
        id=request.id,
        name=name,
        created=request.created,
        image_id=request.image.id,
        config=config,
        host_config=host,
        networks=networks,
        path=command[0],
        args=command[1:],
        mounts=resolve_mounts(
            config,
            host,
            {r.partition(":")[0]: snapshot.container(r.partition(":")[0]) for r in host.volumes_from or ()},
        ),
        layers=request.image.layers,
    )
    warnings += claim_warnings(snapshot, container)
    for port in config.exposed_ports or ():
        parse_container_ports(port)
    port_requests(container)
    for text in container.host_config.extra_hosts or ():
        parse_extra_host(text, ("0.0.0.0",))
    check_overrides(host.dns or (), host.dns_search or (), host.dns_options or ())
    return container, warnings


def _merge(config: Config, image: ImageConfig) -> Config:
    """The image's settings where the user says nothing."""
    # A bare name stays as it is: it takes the image's variable away.
    env = {entry.partition("=")[0]: entry for entry in config.env or ()}
    if "" in env:
        raise InvalidArgument(f"invalid environment variable: {env['']}")
    for entry in image.env or ():
        env.setdefault(entry.partition("=")[0], entry)
    entrypoint, cmd = config.entrypoint, config.cmd
    if entrypoint in (None, ()):
        entrypoint = image.entrypoint
        cmd = cmd or image.cmd
    elif entrypoint == ("",):
        entrypoint = None
    return msgspec.structs.replace(
        config,
        env=tuple(env.values()),
        entrypoint=entrypoint,
        cmd=cmd or None,
        user=config.user or image.user,
        working_dir=config.working_dir or image.working_dir,
        labels={**(image.labels or {}), **(config.labels or {})},
        exposed_ports={**(image.exposed_ports or {}), **(config.exposed_ports or {})} or None,
        volumes={**(image.volumes or {}), **(config.volumes or {})} or None,
        stop_signal=config.stop_signal or image.stop_signal,
        healthcheck=health.merged(config.healthcheck, image.healthcheck),
        shell=config.shell or image.shell,
        on_build=config.on_build or image.on_build,
    )


def _host_config(snapshot: Snapshot, request: CreateRequest) -> HostConfig:
    """The defaults filled in, and `container:<name>` turned into the container's id."""
    host = request.host_config
    mode = host.network_mode or "default"
    if mode == "default":
        mode = "bridge"
    if mode.startswith("container:"):
        try:
            mode = "container:" + snapshot.container(mode.removeprefix("container:")).id
        except NotFound as error:
            raise NotFound(f"No such container: {mode.removeprefix('container:')}") from error
    if host.runtime not in _RUNTIMES:
        raise InvalidArgument(f"unknown or invalid runtime name: {host.runtime}")
    return msgspec.structs.replace(
        host,
        network_mode=mode,
        links=resolve_links(snapshot, host),
        shm_size=host.shm_size or DEFAULT_SHM,
        ipc_mode=host.ipc_mode or "private",
        cgroupns_mode=host.cgroupns_mode or "host",
        runtime=host.runtime or "runc",
        log_config=logging.check(host.log_config, request.log_config),
    )


def name_in_use(name: str, holder: str) -> Conflict:
    return Conflict(
        f'Conflict. The container name "/{name}" is already in use by container "{holder}". You have to remove '
        "(or rename) that container to be able to reuse that name."
    )


def _networks(snapshot: Snapshot, request: CreateRequest, host: HostConfig) -> dict[str, EndpointSettings]:
    if host.network_mode.startswith("container:") or request.config.network_disabled:
        return {}
    asked = {("bridge" if name == "default" else name): settings for name, settings in request.networks.items()}
    asked.setdefault(host.network_mode, EndpointSettings())
    if not any(network.name == "bridge" and network.driver != "null" for network in snapshot.networks.values()):
        asked.pop("bridge", None)  # the daemon runs with -b none: there is no networking by default
    found: dict[str, EndpointSettings] = {}
    networks: list[Network] = []
    for name, settings in sorted(asked.items(), key=lambda item: item[0] != host.network_mode):
        network = snapshot.network(name)
        if not networks:
            settings = _with_mac(request.config.mac_address, settings)
        elif network == networks[0] and settings.mac_address == "":  # NetworkMode by id, settings by name, or so
            settings = msgspec.structs.replace(settings, mac_address=found[network.id].mac_address)
        try:
            check_settings(name, settings, network)
        except InvalidArgument as error:
            raise InvalidArgument(f"invalid config for network {name}: {error}") from error
        networks.append(network)
        found[network.id] = settings
    if len(found) > 1 and any(network.driver in ("host", "null") for network in networks):
        raise InvalidArgument("conflicting options: cannot attach both user-defined and non-user-defined network-modes")
    return found


def _with_mac(mac: str, settings: EndpointSettings) -> EndpointSettings:
    """The container's own MAC address, as clients of API 1.43 and below give it, is that of its first network."""
    if mac and settings.mac_address and parse_mac(mac) != parse_mac(settings.mac_address):
        raise InvalidArgument(
            "the container-wide MAC address must match the endpoint-specific MAC address for the main network, or be "
            "left empty"
        )
    return msgspec.structs.replace(settings, mac_address=settings.mac_address or mac)


def _network_conflicts(request: CreateRequest, host: HostConfig) -> tuple[str, ...]:
    """What makes no sense with the network mode: refused with Docker's words, or warned of."""
    config = request.config
    mac_address = config.mac_address or any(settings.mac_address for settings in request.networks.values())
    if host.network_mode.startswith("container:"):
        for given, what in (
            (config.hostname, "hostname and the network mode"),
            (host.links, "container type network can't be used with links. This would result in undefined behavior"),
            (host.dns, "dns and the network mode"),
            (host.extra_hosts, "custom host-to-IP mapping and the network mode"),
            (mac_address, "mac-address and the network mode"),
            (host.port_bindings or host.publish_all_ports, "port publishing and the container type network mode"),
            (config.exposed_ports, "port exposing and the container type network mode"),
        ):
            if given:
                raise InvalidArgument(f"conflicting options: {what}")
    if host.network_mode == "host":
        if host.links:
            raise InvalidArgument("conflicting options: host type networking can't be used with links")
        if host.port_bindings or host.publish_all_ports:
            return ("Published ports are discarded when using host network mode",)
    return ()


def _with_hostname(config: Config, host: HostConfig, request: CreateRequest) -> Config:
    if config.hostname and host.uts_mode == "host":
        raise InvalidArgument("conflicting options: hostname and the UTS mode")
    if config.hostname or host.network_mode.startswith("container:"):
        return config
    own = host.network_mode == "host" or host.uts_mode == "host"
    return msgspec.structs.replace(config, hostname=request.hostname if own else request.id[:12])
