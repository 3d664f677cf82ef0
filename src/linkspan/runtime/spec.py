"""The OCI runtime spec of a container, as Docker would have it: pure, from the record and what surrounds it."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from linkspan.errors import InvalidArgument
from linkspan.model.container import Config, Container, ExecConfig, HostConfig, Mount
from linkspan.runtime.capabilities import ALL as ALL_CAPABILITIES
from linkspan.runtime.capabilities import effective
from linkspan.runtime.resources import Device, cgroup, check_device, device_nodes, device_rules, rlimits
from linkspan.runtime.seccomp import Profile
from linkspan.runtime.users import Identity

PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
SHM_SIZE = 64 << 20  # bytes
INIT = "/sbin/docker-init"  # where the init shows inside the container
_MASKED_PROC = "acpi asound interrupts kcore keys latency_stats sched_debug scsi timer_list timer_stats"
MASKED = (
    *("/proc/" + name for name in _MASKED_PROC.split()),
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
)
READ_ONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")
_TMPFS_FLAGS = (
    "async atime dev diratime dirsync exec iversion lazytime loud mand noatime nodev nodiratime noexec noiversion "
    "nolazytime nomand norelatime nostrictatime nosuid relatime ro rw silent strictatime suid sync defaults"
)
_TMPFS_SETTINGS = "gid huge mode mpol nr_blocks nr_inodes size uid"


class Surroundings(msgspec.Struct, frozen=True, kw_only=True):
    """What a container's spec needs besides its record. Paths are the host's; "" is none.

    `host_facts` gives those that are the same for every container.
    """

    rootfs: str
    identity: Identity = Identity()
    cgroup: str  # the group's path below every cgroup mount, such as /linkspan/<id>
    hostname: str = ""
    network_namespace: str = ""  # "" is the host's own
    pid_namespace: str = ""  # /proc/<pid>/ns/pid of the container to join: --pid container:…
    ipc_namespace: str = ""
    uts_namespace: str = ""
    hosts: str = ""  # our files for /etc/hosts, /etc/hostname, /etc/resolv.conf
    hostname_file: str = ""
    resolv_conf: str = ""
    devices: tuple[Device, ...] = ()  # those of --device, or every device of the host for --privileged
    block_limits: Mapping[str, list[dict[str, int]]] = msgspec.field(default_factory=dict)  # of single devices
    nofile_hard: int = 1 << 20
    capabilities: tuple[str, ...] = ALL_CAPABILITIES  # those that the daemon itself has
    cgroup_version: int = 1
    swap_accounting: bool = True
    init: str = ""  # a static init for --init
    link_environment: tuple[str, ...] = ()  # what --link tells of the other containers
    seccomp: Profile | None = None  # the default profile; None confines nothing


class _Security(msgspec.Struct, frozen=True):
    seccomp: str = ""  # "", unconfined, or a profile's text
    no_new_privileges: bool = False
    writable_cgroups: bool = False


def oci_spec(container: Container, around: Surroundings) -> dict[str, Any]:
    """The config.json of the container's bundle. Raises InvalidArgument with Docker's words."""
    config, host = container.config, container.host_config
    security = _security(host.security_opt)
    process = _process(container, around, security)
    user_mounts = container.mounts
    if host.init:
        if not around.init:
            raise InvalidArgument('exec: "docker-init": executable file not found in $PATH')
        process["args"] = [INIT, "--", *process["args"]]
        user_mounts = (*user_mounts, Mount(type="bind", source=around.init, destination=INIT, writable=False))
    linux: dict[str, Any] = {
        "cgroupsPath": around.cgroup,
        "namespaces": _namespaces(host, around),
        "resources": {
            **cgroup(host, swap=around.swap_accounting),
            "devices": device_rules(host, around.devices),
        },
        "maskedPaths": list(_paths(host.masked_paths, MASKED, host.privileged)),
        "readonlyPaths": list(_paths(host.readonly_paths, READ_ONLY, host.privileged)),
    }
    if around.block_limits:
        linux["resources"]["blockIO"] = {**linux["resources"].get("blockIO", {}), **around.block_limits}
    if around.devices:
        linux["devices"] = device_nodes(around.devices)
    if sysctls := _sysctls(config, host, around):
        linux["sysctl"] = sysctls
    if propagation := _root_propagation(user_mounts):
        linux["rootfsPropagation"] = propagation
    if not host.privileged and security.seccomp != "unconfined":
        profile = Profile(security.seccomp) if security.seccomp else around.seccomp
        if profile:
            linux["seccomp"] = profile.oci(process["capabilities"]["bounding"])
    spec: dict[str, Any] = {
        "ociVersion": "1.0.2",
        "process": process,
        "root": {"path": around.rootfs, "readonly": host.readonly_rootfs},
        "mounts": _mounts(host, around, security, user_mounts),
        "annotations": dict(host.annotations or {}),
        "linux": linux,
    }
    if around.hostname and host.uts_mode != "host" and not around.uts_namespace:
        spec["hostname"] = around.hostname
    return spec


def exec_process(container: Container, exec_: ExecConfig, around: Surroundings) -> dict[str, Any]:
    """The OCI `process` of an exec; `around.identity` is that of the exec's user, or of the container's where none."""
    process = _process(container, around, _security(container.host_config.security_opt))
    process["terminal"] = exec_.tty
    process["args"] = list(exec_.cmd)
    process["cwd"] = _directory(exec_.working_dir or container.config.working_dir)
    env = _environment(container.config, around, exec_.tty)
    process["env"] = _home(overridden(env, exec_.env or ()), around.identity)
    if exec_.privileged:
        process["capabilities"] = _capabilities(
            effective((), (), privileged=True, available=around.capabilities), around.identity
        )
    process.pop("consoleSize", None)
    if exec_.tty and exec_.console_size and all(exec_.console_size):
        process["consoleSize"] = {"height": exec_.console_size[0], "width": exec_.console_size[1]}
    return process


def validate(config: Config, host: HostConfig) -> None:
    """What can be told before anything is made. Raises InvalidArgument with Docker's words."""
    effective(host.cap_add, host.cap_drop, privileged=host.privileged)
    if text := _security(host.security_opt).seccomp.removeprefix("unconfined"):
        Profile(text)
    rlimits(host.ulimits, 1 << 20)
    for mapping in host.devices or ():
        check_device(mapping)
    device_rules(host, ())
    for options in (host.tmpfs or {}).values():
        _tmpfs_options(options.split(","))
    if host.network_mode == "host":
        for name in host.sysctls or {}:
            if name.startswith("net."):
                raise InvalidArgument(f'sysctl "{name}" not allowed in host network namespace')
    if host.pids_limit is not None and host.pids_limit < -1:
        raise InvalidArgument("Invalid PIDs limit: use -1 for unlimited")
    if host.blkio_weight and not 10 <= host.blkio_weight <= 1000:
        raise InvalidArgument("Range of blkio weight is from 10 to 1000")
    if not -1000 <= host.oom_score_adj <= 1000:
        raise InvalidArgument(f"Invalid value {host.oom_score_adj}, range for oom score adj is [-1000, 1000]")
    if config.working_dir and not config.working_dir.startswith("/"):
        raise InvalidArgument(
            f"the working directory '{config.working_dir}' is invalid, it needs to be an absolute path"
        )


# -- the process ---------------------------------------------------------------------------------------------------


def _process(container: Container, around: Surroundings, security: _Security) -> dict[str, Any]:
    config, host = container.config, container.host_config
    names = effective(host.cap_add, host.cap_drop, privileged=host.privileged, available=around.capabilities)
    user: dict[str, Any] = {"uid": around.identity.uid, "gid": around.identity.gid}
    if around.identity.groups:
        user["additionalGids"] = list(around.identity.groups)
    process: dict[str, Any] = {
        "terminal": config.tty,
        "user": user,
        "args": [container.path, *container.args],
        "env": _home(_environment(config, around, config.tty), around.identity),
        "cwd": _directory(config.working_dir),
        "capabilities": _capabilities(names, around.identity),
        "rlimits": rlimits(host.ulimits, around.nofile_hard),
        "noNewPrivileges": security.no_new_privileges,
        "oomScoreAdj": host.oom_score_adj,
    }
    if config.tty and all(host.console_size):
        process["consoleSize"] = {"height": host.console_size[0], "width": host.console_size[1]}
    return process


def _capabilities(names: Sequence[str], identity: Identity) -> dict[str, list[str]]:
    """A process that is not root starts with none in effect, as after execve(2); root's binaries may still get them."""
    held = list(names) if identity.uid == 0 else []
    return {"bounding": list(names), "effective": held, "permitted": held}


def _environment(config: Config, around: Surroundings, tty: bool) -> list[str]:
    given = [PATH, f"HOSTNAME={around.hostname}", *(["TERM=xterm"] if tty else []), *around.link_environment]
    return overridden(given, config.env or ())


def overridden(env: Sequence[str], changes: Iterable[str]) -> list[str]:
    """`env` with the variables of `changes` put in their places, new ones at the end; NAME without "=" removes it."""
    result = {entry.partition("=")[0]: entry for entry in env}
    for entry in changes:
        name, equals, _ = entry.partition("=")
        if equals:
            result[name] = entry
        else:
            result.pop(name, None)
    return list(result.values())


def _home(env: list[str], identity: Identity) -> list[str]:
    return env if any(entry.startswith("HOME=") for entry in env) else [*env, f"HOME={identity.home}"]


def _directory(path: str) -> str:
    return posixpath.normpath("/" + path.lstrip("/"))


def _security(options: Sequence[str] | None) -> _Security:
    """`--security-opt`; AppArmor and SELinux are not ours to set, so that what is asked of them is accepted."""
    seccomp, no_new_privileges, writable_cgroups = "", False, False
    for option in options or ():
        name, separator, value = option.partition("=")
        if not separator:
            name, separator, value = option.partition(":")
        match name:
            case "no-new-privileges" if value in ("", "true", "false"):
                no_new_privileges = value != "false"
            case "writable-cgroups" if value in ("true", "false"):
                writable_cgroups = value == "true"
            case "seccomp" if value:
                seccomp = "" if value == "builtin" else value
            case "apparmor" | "label":
                pass
            case _ if not separator:
                raise InvalidArgument(f'invalid --security-opt 1: "{option}"')
            case _:
                raise InvalidArgument(f'invalid --security-opt 2: "{option}"')
    return _Security(seccomp, no_new_privileges, writable_cgroups)


# -- namespaces, kernel settings -----------------------------------------------------------------------------------


def _namespaces(host: HostConfig, around: Surroundings) -> list[dict[str, str]]:
    result = [{"type": "mount"}]
    if around.network_namespace:
        result.append({"type": "network", "path": around.network_namespace})
    for kind, mode, path in (
        ("pid", host.pid_mode, around.pid_namespace),
        ("ipc", host.ipc_mode, around.ipc_namespace),
        ("uts", host.uts_mode, around.uts_namespace),
    ):
        if path:
            result.append({"type": kind, "path": path})
        elif mode != "host":
            result.append({"type": kind})
    if _own_cgroup_namespace(host, around):
        result.append({"type": "cgroup"})
    return result


def _own_cgroup_namespace(host: HostConfig, around: Surroundings) -> bool:
    """Docker's default: the host's with cgroup v1 and for privileged containers, else a private one."""
    if host.cgroupns_mode:
        return host.cgroupns_mode == "private"
    return around.cgroup_version == 2 and not host.privileged


def _sysctls(config: Config, host: HostConfig, around: Surroundings) -> dict[str, str]:
    result = dict(host.sysctls or {})
    if around.network_namespace and not host.network_mode.startswith("container:"):
        result.setdefault("net.ipv4.ip_unprivileged_port_start", "0")
        result.setdefault("net.ipv4.ping_group_range", "0 2147483647")
    if config.domainname and host.uts_mode != "host" and not around.uts_namespace:
        result.setdefault("kernel.domainname", config.domainname)
    return result


def _paths(asked: Sequence[str] | None, default: Sequence[str], privileged: bool) -> Sequence[str]:
    if asked is not None:
        return asked
    return () if privileged else default


# -- mounts --------------------------------------------------------------------------------------------------------


def _mounts(
    host: HostConfig, around: Surroundings, security: _Security, user_mounts: Sequence[Mount]
) -> list[dict[str, Any]]:
    """Parents before children. A user's mount takes the place of ours; one on /dev of all that we would put below."""
    hidden = {mount.destination for mount in user_mounts}
    ours = [
        mount
        for mount in (*_kernel_mounts(host, around, security), *_files(around))
        if mount["destination"] not in hidden and not ("/dev" in hidden and mount["destination"].startswith("/dev/"))
    ]
    theirs = [_user_mount(mount) for mount in user_mounts]
    return sorted([*ours, *theirs], key=lambda mount: len(_parts(mount["destination"])))


def _parts(path: str) -> list[str]:
    return [part for part in path.split("/") if part]


def _kernel_mounts(host: HostConfig, around: Surroundings, security: _Security) -> list[dict[str, Any]]:
    access = "rw" if host.privileged else "ro"
    cgroups = "rw" if host.privileged or security.writable_cgroups else "ro"
    quiet = ["nosuid", "noexec", "nodev"]
    mounts = [
        _mount("/proc", "proc", "proc", quiet),
        _mount("/dev", "tmpfs", "tmpfs", ["nosuid", "strictatime", "mode=755", "size=65536k"]),
        _mount(
            "/dev/pts", "devpts", "devpts", ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]
        ),
        _mount("/sys", "sysfs", "sysfs", [*quiet, access]),
        _mount("/sys/fs/cgroup", "cgroup", "cgroup", [*quiet, cgroups]),
    ]
    # In the host's IPC namespace, or another's, this shows the queues of that one; the host need not have it mounted.
    mounts.append(_mount("/dev/mqueue", "mqueue", "mqueue", quiet))
    if host.ipc_mode == "host":
        mounts.append(_mount("/dev/shm", "bind", "/dev/shm", ["rbind", "rprivate"]))
    elif around.ipc_namespace:  # /proc/<pid>/ns/ipc: the memory is shared as a file system, too
        shm = around.ipc_namespace.removesuffix("/ns/ipc") + "/root/dev/shm"
        mounts.append(_mount("/dev/shm", "bind", shm, ["rbind", "rprivate"]))
    elif host.ipc_mode != "none":
        size = host.shm_size or SHM_SIZE
        mounts.append(_mount("/dev/shm", "tmpfs", "shm", [*quiet, "mode=1777", f"size={size}"]))
    return mounts


def _files(around: Surroundings) -> list[dict[str, Any]]:
    return [
        _mount(destination, "bind", source, ["rbind", "rprivate"])
        for destination, source in (
            ("/etc/hosts", around.hosts),
            ("/etc/hostname", around.hostname_file),
            ("/etc/resolv.conf", around.resolv_conf),
        )
        if source
    ]


def _mount(destination: str, kind: str, source: str, options: Sequence[str]) -> dict[str, Any]:
    return {"destination": destination, "type": kind, "source": source, "options": list(options)}


def _user_mount(mount: Mount) -> dict[str, Any]:
    if mount.type == "tmpfs":
        options = [*_tmpfs_options(mount.options), *([] if mount.writable else ["ro"])]
        return _mount(mount.destination, "tmpfs", "tmpfs", ["noexec", "nosuid", "nodev", *options])
    options = ["bind" if "bind" in mount.options else "rbind", mount.propagation or "rprivate"]
    if not mount.writable:
        options.append("rro" if "rro" in mount.options else "ro")
    return _mount(mount.destination, "bind", mount.source, options)


def _tmpfs_options(options: Iterable[str]) -> list[str]:
    """Raises InvalidArgument for what is no option of a tmpfs."""
    chosen = [option for option in options if option and option != "defaults"]
    for option in chosen:
        name, equals, _ = option.partition("=")
        if name not in (_TMPFS_SETTINGS if equals else _TMPFS_FLAGS).split():
            raise InvalidArgument(f'invalid tmpfs option ["{option}"]')
    return chosen


def _root_propagation(mounts: Iterable[Mount]) -> str:
    """A mount that shares events with the host needs a root that does."""
    asked = {mount.propagation.removeprefix("r") for mount in mounts if mount.type == "bind"}
    return "shared" if "shared" in asked else "rslave" if "slave" in asked else ""
