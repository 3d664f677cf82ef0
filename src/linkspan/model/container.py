"""A container: what was asked for, and what has become of it.

`Config` and `HostConfig` are Docker's, field for field, as far as this engine acts on them or a client reads them back.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from linkspan.model.health import Health, Healthcheck
from linkspan.model.plug import Plug
from linkspan.model.wire import Wire

NEVER = "0001-01-01T00:00:00Z"  # Docker's "not yet", the zero time


class PortBinding(Wire, frozen=True, kw_only=True, gc=False):  # there may be thousands, and none is part of a cycle
    host_ip: str = ""
    host_port: str = ""


class RestartPolicy(Wire, frozen=True, kw_only=True):
    name: str = "no"  # no, always, unless-stopped, on-failure
    maximum_retry_count: int = 0


class LogConfig(Wire, frozen=True, kw_only=True):
    type: str = ""
    config: Mapping[str, str] | None = None


class DeviceMapping(Wire, frozen=True, kw_only=True):
    path_on_host: str = ""
    path_in_container: str = ""
    cgroup_permissions: str = "rwm"


class DeviceRequest(Wire, frozen=True, kw_only=True):
    """`--gpus`: devices that a driver of the engine's chooses."""

    driver: str = ""
    capabilities: tuple[tuple[str, ...], ...] | None = None


class ThrottleDevice(Wire, frozen=True, kw_only=True):
    """A block device of the host, and the bytes or operations a second that a container may read or write there."""

    path: str
    rate: int = 0


class WeightDevice(Wire, frozen=True, kw_only=True):
    path: str
    weight: int = 0


class Ulimit(Wire, frozen=True, kw_only=True):
    name: str
    hard: int = 0
    soft: int = 0


class MountRequest(Wire, frozen=True, kw_only=True):
    """`--mount`: Type is bind, volume or tmpfs."""

    type: str = "volume"
    source: str = ""
    target: str = ""
    read_only: bool = False
    consistency: str = ""
    bind_options: Mapping[str, object] | None = None
    volume_options: Mapping[str, object] | None = None
    tmpfs_options: Mapping[str, object] | None = None


class Config(Wire, frozen=True, kw_only=True):
    hostname: str = ""
    domainname: str = ""
    user: str = ""
    attach_stdin: bool = False
    attach_stdout: bool = False
    attach_stderr: bool = False
    exposed_ports: Mapping[str, object] | None = None
    tty: bool = False
    open_stdin: bool = False
    stdin_once: bool = False
    env: tuple[str, ...] | None = None
    cmd: tuple[str, ...] | None = None
    healthcheck: Healthcheck | None = None
    image: str = ""
    volumes: Mapping[str, object] | None = None
    working_dir: str = ""
    entrypoint: tuple[str, ...] | None = None
    network_disabled: bool = False
    mac_address: str = ""
    on_build: tuple[str, ...] | None = None
    labels: Mapping[str, str] | None = None
    stop_signal: str = ""
    stop_timeout: int | None = None
    shell: tuple[str, ...] | None = None


class HostConfig(Wire, frozen=True, kw_only=True):
    binds: tuple[str, ...] | None = None
    container_id_file: str = msgspec.field(default="", name="ContainerIDFile")
    log_config: LogConfig = LogConfig()
    network_mode: str = "default"
    port_bindings: Mapping[str, tuple[PortBinding, ...] | None] | None = None
    restart_policy: RestartPolicy = RestartPolicy()
    auto_remove: bool = False
    volume_driver: str = ""
    volumes_from: tuple[str, ...] | None = None
    console_size: tuple[int, int] = (0, 0)
    annotations: Mapping[str, str] | None = None
    cap_add: tuple[str, ...] | None = None
    cap_drop: tuple[str, ...] | None = None
    cgroupns_mode: str = ""
    dns: tuple[str, ...] | None = None
    dns_options: tuple[str, ...] | None = None
    dns_search: tuple[str, ...] | None = None
    extra_hosts: tuple[str, ...] | None = None
    group_add: tuple[str, ...] | None = None
    ipc_mode: str = ""
    cgroup: str = ""
    links: tuple[str, ...] | None = None
    oom_score_adj: int = 0
    pid_mode: str = ""
    privileged: bool = False
    publish_all_ports: bool = False
    readonly_rootfs: bool = False
    security_opt: tuple[str, ...] | None = None
    storage_opt: Mapping[str, str] | None = None
    tmpfs: Mapping[str, str] | None = None
    uts_mode: str = msgspec.field(default="", name="UTSMode")
    userns_mode: str = ""
    shm_size: int = 0
    sysctls: Mapping[str, str] | None = None
    runtime: str = ""
    isolation: str = ""
    cpu_shares: int = 0
    memory: int = 0
    nano_cpus: int = 0
    cgroup_parent: str = ""
    blkio_weight: int = 0
    blkio_weight_device: tuple[WeightDevice, ...] | None = None
    blkio_device_read_bps: tuple[ThrottleDevice, ...] | None = None
    blkio_device_write_bps: tuple[ThrottleDevice, ...] | None = None
    blkio_device_read_iops: tuple[ThrottleDevice, ...] | None = msgspec.field(default=None, name="BlkioDeviceReadIOps")
    blkio_device_write_iops: tuple[ThrottleDevice, ...] | None = msgspec.field(
        default=None, name="BlkioDeviceWriteIOps"
    )
    cpu_period: int = 0
    cpu_quota: int = 0
    cpu_realtime_period: int = 0
    cpu_realtime_runtime: int = 0
    cpuset_cpus: str = ""
    cpuset_mems: str = ""
    devices: tuple[DeviceMapping, ...] | None = None
    device_cgroup_rules: tuple[str, ...] | None = None
    device_requests: tuple[DeviceRequest, ...] | None = None
    memory_reservation: int = 0
    memory_swap: int = 0
    memory_swappiness: int | None = None
    oom_kill_disable: bool | None = None
    pids_limit: int | None = None
    ulimits: tuple[Ulimit, ...] | None = None
    mounts: tuple[MountRequest, ...] | None = None
    masked_paths: tuple[str, ...] | None = None
    readonly_paths: tuple[str, ...] | None = None
    init: bool | None = None

    @property
    def administers_network(self) -> bool:
        """Its programs may have CAP_NET_ADMIN."""
        added, dropped = (
            {n.upper().removeprefix("CAP_") for n in some or ()} for some in (self.cap_add, self.cap_drop)
        )
        return self.privileged or ("NET_ADMIN" not in dropped if "ALL" in added else "NET_ADMIN" in added)


class EndpointIpamConfig(Wire, frozen=True, kw_only=True):
    ipv4_address: str = msgspec.field(default="", name="IPv4Address")
    ipv6_address: str = msgspec.field(default="", name="IPv6Address")
    link_local_ips: tuple[str, ...] | None = msgspec.field(default=None, name="LinkLocalIPs")


class EndpointSettings(Wire, frozen=True, kw_only=True):
    """What a user asks of one attachment; what came of it is the Endpoint."""

    ipam_config: EndpointIpamConfig | None = msgspec.field(default=None, name="IPAMConfig")
    links: tuple[str, ...] | None = None
    aliases: tuple[str, ...] | None = None
    mac_address: str = ""
    driver_opts: Mapping[str, str] | None = None
    gw_priority: int = 0


class Mount(Wire, frozen=True, kw_only=True):
    """A mount of a container, resolved: source and destination are absolute."""

    type: str  # bind, volume, tmpfs
    name: str = ""  # of the volume
    source: str = ""
    destination: str = ""
    driver: str = ""
    mode: str = ""
    writable: bool = msgspec.field(default=True, name="RW")
    propagation: str = ""
    options: tuple[str, ...] = ()  # of a tmpfs; of a bind: create, bind (not what lies mounted below it), rro
    labels: Mapping[str, str] | None = None  # of a volume that is made for it


class State(Wire, frozen=True, kw_only=True):
    """`status` is created, running, paused, restarting, removing, exited or dead."""

    status: str = "created"
    pid: int = 0
    exit_code: int = 0
    error: str = ""
    oom_killed: bool = msgspec.field(default=False, name="OOMKilled")
    started_at: str = NEVER
    finished_at: str = NEVER
    health: Health | None = None  # None where nothing is checked

    @property
    def running(self) -> bool:
        """There is a process: running, or paused."""
        return self.status in ("running", "paused")


class Container(Wire, frozen=True, kw_only=True):
    """A container's record."""

    id: str
    name: str  # without the slash
    created: str  # RFC 3339, nanoseconds
    image_id: str
    config: Config  # the image's own settings merged in
    host_config: HostConfig
    networks: Mapping[str, EndpointSettings] = msgspec.field(default_factory=dict)  # by network id
    plugs: tuple[Plug, ...] = ()  # interfaces given by hand
    path: str = ""  # the program, and its arguments: entrypoint and command joined
    args: tuple[str, ...] = ()
    mounts: tuple[Mount, ...] = ()
    layers: tuple[str, ...] = ()  # directories of the image's layers, lowest first
    state: State = State()
    restart_count: int = 0
    stopped_by_user: bool = False  # `docker stop`: restart=unless-stopped leaves it alone

    @property
    def joins(self) -> str:
        """The id of the container whose sandbox this one shares, or ""."""
        return self.host_config.network_mode.removeprefix("container:") if self.shares_sandbox else ""

    @property
    def shares_sandbox(self) -> bool:
        return self.host_config.network_mode.startswith("container:")


class ExecConfig(Wire, frozen=True, kw_only=True):
    """`POST /containers/{id}/exec`."""

    user: str = ""
    privileged: bool = False
    tty: bool = False
    console_size: tuple[int, int] | None = None
    attach_stdin: bool = False
    attach_stdout: bool = False
    attach_stderr: bool = False
    detach: bool = False
    detach_keys: str = ""
    env: tuple[str, ...] | None = None
    working_dir: str = ""
    cmd: tuple[str, ...] = ()
