"""Containers as Docker prints them."""

from __future__ import annotations

from typing import Any

import msgspec

from linkspan.api.times import age, seconds
from linkspan.api.versions import DNS_NAMES, LEAN, Version
from linkspan.daemon.views import Attachment, ContainerView, ExecView
from linkspan.model.container import NEVER, Config, Container, EndpointSettings, HostConfig, Mount, State
from linkspan.model.endpoint import Endpoint
from linkspan.model.image import Image
from linkspan.model.names import dns_names
from linkspan.model.plug import Plug
from linkspan.model.port import each_family

HOST_SANDBOX_KEY = "/var/run/docker/netns/default"
STORAGE_DRIVER = "overlay2"
_OPTIONAL_CONFIG = (
    "ExposedPorts",
    "Healthcheck",
    "NetworkDisabled",
    "MacAddress",
    "StopSignal",
    "StopTimeout",
    "Shell",
)
_EMPTY_LISTS = (
    "Dns",
    "DnsOptions",
    "DnsSearch",
    "Devices",
    "MaskedPaths",
    "ReadonlyPaths",
    "BlkioWeightDevice",
    "BlkioDeviceReadBps",
    "BlkioDeviceWriteBps",
    "BlkioDeviceReadIOps",
    "BlkioDeviceWriteIOps",
)
# Settings that Docker prints and this engine does not act on, with the values that mean "unset".
_UNSET: dict[str, Any] = {
    "CpuCount": 0,
    "CpuPercent": 0,
    "IOMaximumIOps": 0,
    "IOMaximumBandwidth": 0,
}


def inspect(view: ContainerView, size: tuple[int, int] | None, version: Version) -> dict[str, Any]:
    """`GET /containers/{id}/json`. `size` is (written, whole) in bytes, where asked for."""
    container = view.container
    result: dict[str, Any] = {
        "Id": container.id,
        "Created": container.created,
        "Path": container.path,
        "Args": container.args,
        "State": _state(container),
        "Image": container.image_id,
        "ResolvConfPath": view.resolv_conf_path,
        "HostnamePath": view.hostname_path,
        "HostsPath": view.hosts_path,
        "LogPath": view.log_path,
        "Name": "/" + container.name,
        "RestartCount": container.restart_count,
        "Driver": STORAGE_DRIVER,
        "Platform": "linux",
        "MountLabel": "",
        "ProcessLabel": "",
        "AppArmorProfile": "",
        "ExecIDs": view.exec_ids or None,
        "HostConfig": _host_config(container.host_config) | {"Links": view.links or None},
        "GraphDriver": {"Data": {"LowerDir": ":".join(reversed(container.layers))}, "Name": STORAGE_DRIVER},
        "Mounts": _mounts(container),
        "Config": _config(container.config),
        "NetworkSettings": network_settings(view, version),
    }
    if version >= LEAN:
        result["Config"].pop("MacAddress", None)
    elif mac := container.config.mac_address or _asked_mac(view):
        result["Config"]["MacAddress"] = mac
    if size is not None:
        result["SizeRw"], result["SizeRootFs"] = size
    return result


def _asked_mac(view: ContainerView) -> str:
    """The MAC address that was asked for on the network which the container's mode names."""
    mode, asked = view.container.host_config.network_mode, view.container.networks
    for network in (place.network for place in view.attachments):
        if network.id in asked and (mode == network.name or network.id.startswith(mode)):
            return asked[network.id].mac_address
    return ""


def summary(view: ContainerView, now: float, size: tuple[int, int] | None, version: Version) -> dict[str, Any]:
    """One line of `GET /containers/json`. `now` in seconds since the epoch."""
    container = view.container
    result: dict[str, Any] = {
        "Id": container.id,
        "Names": ["/" + container.name, *view.link_names],
        "Image": _image_name(container, view.image),
        "ImageID": container.image_id,
        "Command": _command(container),
        "Created": int(seconds(container.created)),
        "Ports": _port_list(view),
        "Labels": container.config.labels or {},
        "State": container.state.status,
        "Status": status_text(container, now),
        "HostConfig": {"NetworkMode": container.host_config.network_mode},
        "NetworkSettings": {"Networks": _networks(view, version)},
        "Mounts": _mounts(container),
    }
    if size is not None:
        result["SizeRw"], result["SizeRootFs"] = size
    return result


def exec_inspect(view: ExecView) -> dict[str, Any]:
    config = view.config
    return {
        "ID": view.id,
        "Running": view.running,
        "ExitCode": view.exit_code,
        "ProcessConfig": {
            "tty": config.tty,
            "entrypoint": config.cmd[0] if config.cmd else "",
            "arguments": config.cmd[1:],
            "privileged": config.privileged,
            "user": config.user,
        },
        "OpenStdin": config.attach_stdin,
        "OpenStderr": config.attach_stderr,
        "OpenStdout": config.attach_stdout,
        "CanRemove": not view.running and view.exit_code is not None,
        "ContainerID": view.container_id,
        "DetachKeys": config.detach_keys,
        "Pid": view.pid,
    }


def status_text(container: Container, now: float) -> str:
    """The STATUS column of `docker ps`."""
    state = container.state
    match state.status:
        case "running" | "paused":
            return f"Up {age(now - seconds(state.started_at))}{_running(state)}"
        case "restarting":
            return f"Restarting ({state.exit_code}) {age(now - seconds(state.finished_at))} ago"
        case "removing":
            return "Removal In Progress"
        case "dead":
            return "Dead"
    if state.started_at == NEVER and state.finished_at == NEVER:
        return "Created"
    if state.finished_at == NEVER:
        return ""
    return f"Exited ({state.exit_code}) {age(now - seconds(state.finished_at))} ago"


def _running(state: State) -> str:
    if state.status == "paused":
        return " (Paused)"
    if state.health is None:
        return ""
    return " (health: starting)" if state.health.status == "starting" else f" ({state.health.status})"


def network_settings(view: ContainerView, version: Version) -> dict[str, Any]:
    """Until API 1.51 there is at the top, besides the sandbox, a copy of what the default bridge gave."""
    sandbox = view.sandbox
    key = "" if sandbox is None else HOST_SANDBOX_KEY if sandbox.kind == "host" else sandbox.key
    networks = _networks(view, version)
    result: dict[str, Any] = {"SandboxID": sandbox.id if sandbox else "", "SandboxKey": key, "Ports": _port_map(view)}
    if view.container.plugs:  # not Docker's
        run = sandbox.id if sandbox else ""
        result["Interfaces"] = [plug(one.addressed(run)) for one in view.container.plugs]
    if version >= LEAN:
        return result | {"Networks": networks}
    default = networks.get("bridge", {})
    return {
        "Bridge": "",
        **result,
        "HairpinMode": False,
        "LinkLocalIPv6Address": "",
        "LinkLocalIPv6PrefixLen": 0,
        "SecondaryIPAddresses": None,
        "SecondaryIPv6Addresses": None,
        "EndpointID": default.get("EndpointID", ""),
        "Gateway": default.get("Gateway", ""),
        "GlobalIPv6Address": default.get("GlobalIPv6Address", ""),
        "GlobalIPv6PrefixLen": default.get("GlobalIPv6PrefixLen", 0),
        "IPAddress": default.get("IPAddress", ""),
        "IPPrefixLen": default.get("IPPrefixLen", 0),
        "IPv6Gateway": default.get("IPv6Gateway", ""),
        "MacAddress": default.get("MacAddress", ""),
        "Networks": networks,
    }


def plug(one: Plug) -> dict[str, Any]:
    """An interface given by hand. With DHCP, the address that it has now."""
    return {
        "ID": one.id,
        "Name": one.interface,
        "Kind": one.kind,
        "HostInterface": one.parent,
        "HostEnd": one.host_interface,
        "Vlan": one.vlan,
        "MacAddress": one.mac or one.parent_mac,
        "Address": f"{one.address}/{one.prefix_length}" if one.address else "",
        "Gateway": one.gateway,
        "Dhcp": one.dhcp,
    }


def _networks(view: ContainerView, version: Version) -> dict[str, Any]:
    if view.container.shares_sandbox:
        return {}
    return {place.network.name: _network(view.container, place, version) for place in view.attachments}


def _network(container: Container, place: Attachment, version: Version) -> dict[str, Any]:
    network = place.network
    asked = container.networks.get(network.id, EndpointSettings())
    got = place.endpoint or Endpoint(id="", network_id="", sandbox_id="", container_id="")
    aliases = asked.aliases
    if version < DNS_NAMES and not network.predefined:
        aliases = tuple(dict.fromkeys((*(aliases or ()), container.id[:12])))
    return {
        "IPAMConfig": _without_empty(msgspec.to_builtins(asked.ipam_config)) if asked.ipam_config else None,
        "Links": asked.links,
        "Aliases": aliases,
        "MacAddress": got.mac or asked.mac_address,
        "DriverOpts": asked.driver_opts,
        "GwPriority": asked.gw_priority,
        "NetworkID": network.id,
        "EndpointID": got.id,
        "Gateway": got.gateway,
        "IPAddress": got.address,
        "IPPrefixLen": got.prefix_length,
        "IPv6Gateway": got.gateway6,
        "GlobalIPv6Address": got.address6,
        "GlobalIPv6PrefixLen": got.prefix_length6,
        "DNSNames": dns_names(container, network) or None,
    }


def _endpoints(view: ContainerView) -> list[Endpoint]:
    """Those that have ports: a container in another's sandbox, or in the host's, lists none."""
    if view.container.shares_sandbox or (view.sandbox is not None and view.sandbox.kind == "host"):
        return []
    return [place.endpoint for place in view.attachments if place.endpoint is not None]


def _port_map(view: ContainerView) -> dict[str, Any]:
    ports: dict[str, Any] = {}
    for endpoint in _endpoints(view):
        for port in endpoint.exposed:
            ports.setdefault(port, None)
        for binding in endpoint.bindings:
            entries = ports.get(binding.container) or []
            for address in each_family(binding.address):
                entry = {"HostIp": address, "HostPort": str(binding.port) if binding.port else ""}
                entries = [*entries, entry] if entry not in entries else entries
            if not binding.port:  # one version is routed, and Docker names IPv4 first
                entries = sorted(entries, key=lambda entry: ":" in entry["HostIp"])
            ports[binding.container] = entries
    return ports


def _port_list(view: ContainerView) -> list[dict[str, Any]]:
    ports: list[dict[str, Any]] = []
    for port, bindings in _port_map(view).items():
        number, _, protocol = port.partition("/")
        if not bindings:
            ports.append({"PrivatePort": int(number), "Type": protocol})
        for binding in bindings or ():
            public = {"PublicPort": int(binding["HostPort"])} if binding["HostPort"] not in ("", "0") else {}
            ports.append({"IP": binding["HostIp"], "PrivatePort": int(number), **public, "Type": protocol})
    return ports


def _state(container: Container) -> dict[str, Any]:
    state = container.state
    return {
        "Status": state.status,
        "Running": state.running or state.status == "restarting",
        "Paused": state.status == "paused",
        "Restarting": state.status == "restarting",
        "OOMKilled": state.oom_killed,
        "Dead": state.status == "dead",
        "Pid": state.pid,
        "ExitCode": state.exit_code,
        "Error": state.error,
        "StartedAt": state.started_at,
        "FinishedAt": state.finished_at,
        **({"Health": state.health} if state.health else {}),
    }


def _config(config: Config) -> dict[str, Any]:
    result: dict[str, Any] = msgspec.to_builtins(config)
    for key in _OPTIONAL_CONFIG:
        if result[key] is None or result[key] is False or result[key] in ("", {}, []):
            del result[key]
    result["Labels"] = result["Labels"] or {}
    result["Env"] = result["Env"] or []
    return result


def _host_config(config: HostConfig) -> dict[str, Any]:
    result: dict[str, Any] = {**msgspec.to_builtins(config), **_UNSET}
    for key in _EMPTY_LISTS:
        result[key] = result[key] or []
    result["PortBindings"] = result["PortBindings"] or {}
    result["LogConfig"] = {"Type": config.log_config.type or "json-file", "Config": config.log_config.config or {}}
    for key in ("Annotations", "Init", "Mounts", "StorageOpt", "Tmpfs", "Sysctls"):
        if not result[key] and result[key] is not False:
            del result[key]
    for mount in result.get("Mounts", ()):
        for key in [key for key, value in mount.items() if value in (None, "", False)]:
            del mount[key]
    return result


def _mounts(container: Container) -> list[dict[str, Any]]:
    hidden = container.host_config.tmpfs or {}  # Docker lists those in HostConfig alone
    return [_mount(mount) for mount in container.mounts if mount.type != "tmpfs" or mount.destination not in hidden]


def _mount(mount: Mount) -> dict[str, Any]:
    return {
        "Type": mount.type,
        **({"Name": mount.name} if mount.name else {}),
        "Source": mount.source,
        "Destination": mount.destination,
        **({"Driver": mount.driver} if mount.driver else {}),
        "Mode": mount.mode,
        "RW": mount.writable,
        "Propagation": mount.propagation,
    }


def _command(container: Container) -> str:
    args = [f"'{arg}'" if " " in arg else arg for arg in container.args]
    return " ".join((container.path, *args))


def _image_name(container: Container, image: Image | None) -> str:
    """What the user typed, as long as that still names the container's image; else the image's id."""
    typed = container.config.image
    if image is None or typed in (image.id, image.id.removeprefix("sha256:")):
        return typed if image is not None else container.image_id
    if "@" in typed or familiar(typed) in image.tags or image.id.removeprefix("sha256:").startswith(typed):
        return typed
    return container.image_id


def familiar(name: str) -> str:
    """Docker's short form of an image name, with a tag: docker.io/library/mysql → mysql:latest."""
    for prefix in ("docker.io/", "index.docker.io/"):
        name = name.removeprefix(prefix)
    name = name.removeprefix("library/")
    return name if ":" in name.rpartition("/")[2] or "@" in name else name + ":latest"


def _without_empty(value: Any) -> dict[str, Any]:
    return {key: one for key, one in value.items() if one}
