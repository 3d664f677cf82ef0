"""The flags of run and create, and the body of POST /containers/create that they make.

Only what was asked for is in the body: the daemon knows the defaults.
"""

from __future__ import annotations

import json
import os
from typing import Any

from linkspan.cli import mounts, ports, quantities
from linkspan.cli.attachments import endpoints, long_form
from linkspan.cli.failure import Failure
from linkspan.cli.flags import Flag, Parsed, integer, switch

STATUS = 125  # of run and create, where the container could not be made


def _host_entry(text: str) -> str:
    name, separator, address = text.partition("=") if "=" in text else text.partition(":")
    if not separator or not name:
        raise ValueError(f'bad format for add-host: "{text}"')
    address = address[1:-1] if address.startswith("[") and address.endswith("]") else address
    if address != "host-gateway" and not ports.is_address(address):
        raise ValueError(f'invalid IP address in add-host: "{address}"')
    return f"{name}:{address}"


def _dns_address(text: str) -> str:
    if not ports.is_address(text.strip()):
        raise ValueError(f"IP address is not correctly formatted: {text}")
    return text.strip()


def _ulimit(text: str) -> dict[str, Any]:
    name, equals, limits = text.partition("=")
    if not equals:
        raise ValueError(f"invalid ulimit argument: {text}")
    soft, colon, hard = limits.partition(":")
    try:
        low = int(soft)
        high = int(hard) if colon else low
    except ValueError as error:
        raise ValueError(f"{error}") from None
    if high != -1 and (low == -1 or low > high):
        raise ValueError(f"ulimit soft limit must be less than or equal to hard limit: {low} > {high}")
    return {"Name": name, "Soft": low, "Hard": high}


def _sysctl(text: str) -> str:
    name, equals, _ = text.partition("=")
    if not equals or not (name.startswith(("net.", "fs.mqueue.")) or name in _SYSCTLS):
        raise ValueError(f"sysctl '{text}' is not allowed")
    return text


_SYSCTLS = (
    "kernel.msgmax", "kernel.msgmnb", "kernel.msgmni", "kernel.sem", "kernel.shmall", "kernel.shmmax", "kernel.shmmni",
    "kernel.shm_rmid_forced",
)  # fmt: skip


def _stream(text: str) -> str:
    if text.lower() not in ("stdin", "stdout", "stderr"):
        raise ValueError("valid streams are STDIN, STDOUT and STDERR")
    return text.lower()


# fmt: off
FLAGS = (
    Flag("add-host", "", "list", "Add a line to /etc/hosts (host:ip)", check=_host_entry),
    Flag("annotation", "", "map", "Add an annotation for the OCI runtime"),
    Flag("attach", "a", "list", "Attach to STDIN, STDOUT or STDERR", check=_stream),
    Flag("blkio-weight", "", "weight", "Block I/O weight, 10 to 1000", "0", integer),
    Flag("cap-add", "", "list", "Add a Linux capability"),
    Flag("cap-drop", "", "list", "Drop a Linux capability"),
    Flag("cgroup-parent", "", "string", "Parent control group of the container"),
    Flag("cgroupns", "", "string", "Control group namespace: host or private"),
    Flag("cidfile", "", "file", "Write the container's id to this file"),
    Flag("cpu-period", "", "int", "CPU period in microseconds", "0", integer),
    Flag("cpu-quota", "", "int", "CPU time in each period, in microseconds", "0", integer),
    Flag("cpu-rt-period", "", "int", "Real-time CPU period in microseconds", "0", integer),
    Flag("cpu-rt-runtime", "", "int", "Real-time CPU time in each period, in microseconds", "0", integer),
    Flag("cpu-shares", "c", "int", "Weight of the container when processors are short", "0", integer),
    Flag("cpus", "", "decimal", "Number of processors it may use", check=quantities.cpus),
    Flag("cpuset-cpus", "", "string", "Processors it may run on (0-3, 0,1)"),
    Flag("cpuset-mems", "", "string", "Memory nodes it may use (0-3, 0,1)"),
    Flag("device", "", "list", "Give it a device of the host (/dev/x[:/dev/y][:rwm])"),
    Flag("device-cgroup-rule", "", "list", "Add a rule to the list of allowed devices"),
    switch("disable-content-trust", "", "Accepted; images are not verified", default=True),
    Flag("dns", "", "list", "DNS server", check=_dns_address),
    Flag("dns-option", "", "list", "Option of resolv.conf"),
    Flag("dns-search", "", "list", "DNS search domain"),
    Flag("domainname", "", "string", "NIS domain name"),
    Flag("entrypoint", "", "string", "Program to run instead of the image's ENTRYPOINT"),
    Flag("env", "e", "list", "Set an environment variable (NAME=value, or NAME to pass on yours)",
         check=quantities.environment_entry),
    Flag("env-file", "", "list", "Read environment variables from a file"),
    Flag("expose", "", "list", "Say that it listens on a port or a range, without publishing it"),
    Flag("group-add", "", "list", "Additional group of the process"),
    Flag("health-cmd", "", "string", "Command that checks the health"),
    Flag("health-interval", "", "duration", "Time between checks", "0s", quantities.duration),
    Flag("health-retries", "", "int", "Failures in a row that mean unhealthy", "0", integer),
    Flag("health-start-interval", "", "duration", "Time between checks while it starts", "0s", quantities.duration),
    Flag("health-start-period", "", "duration", "Time to start before failures count", "0s", quantities.duration),
    Flag("health-timeout", "", "duration", "Longest time that a check may take", "0s", quantities.duration),
    Flag("hostname", "h", "string", "Host name of the container"),
    switch("init", "", "Run an init that forwards signals and reaps processes"),
    switch("interactive", "i", "Keep standard input open"),
    Flag("ip", "", "address", "IPv4 address (172.30.100.104)"),
    Flag("ip6", "", "address", "IPv6 address (2001:db8::33)"),
    Flag("ipc", "", "string", "IPC namespace to use"),
    Flag("isolation", "", "string", "Accepted; Linux has one"),
    Flag("label", "l", "list", "Set a label (name=value)", check=quantities.label),
    Flag("label-file", "", "list", "Read labels from a file"),
    Flag("link", "", "list", "Link to another container (name[:alias])"),
    Flag("link-local-ip", "", "list", "Link-local address"),
    Flag("log-driver", "", "string", "Log driver of the container"),
    Flag("log-opt", "", "list", "Option of the log driver (name=value)"),
    Flag("mac-address", "", "string", "MAC address (92:d0:c6:0a:29:33)"),
    Flag("memory", "m", "bytes", "Memory limit (64m, 1g)", "0", quantities.size),
    Flag("memory-reservation", "", "bytes", "Memory it may keep when memory is short", "0", quantities.size),
    Flag("memory-swap", "", "bytes", "Limit of memory and swap together, -1 for none", "0",
         quantities.size_or_unlimited),
    Flag("memory-swappiness", "", "int", "Swappiness, 0 to 100", "-1", integer),
    Flag("mount", "", "mount", "Mount a file system (type=bind|volume|tmpfs,source=…,target=…[,readonly])",
         check=mounts.mount),
    Flag("name", "", "string", "Name of the container"),
    Flag("network", "", "network", "Network to join: a name, host, none, container:NAME, or name=…,alias=…,ip=…",
         check=long_form),
    Flag("network-alias", "", "list", "Further name of the container in its network"),
    switch("no-healthcheck", "", "Do not check the health, whatever the image says"),
    switch("oom-kill-disable", "", "Do not let the kernel kill it for lack of memory"),
    Flag("oom-score-adj", "", "int", "Preference of the kernel's OOM killer, -1000 to 1000", "0", integer),
    Flag("pid", "", "string", "PID namespace to use: host or container:NAME"),
    Flag("pids-limit", "", "int", "Most processes it may have, -1 for any number", "0", integer),
    Flag("platform", "", "string", "Platform of the image (linux/amd64)"),
    switch("privileged", "", "Give it every capability and device"),
    Flag("publish", "p", "list", "Publish a port on the host ([[address:][hostport]:]port[-port][/protocol])"),
    switch("publish-all", "P", "Publish every exposed port on a port of the engine's choice"),
    Flag("pull", "", "policy", "Pull the image first: always, missing or never", "missing"),
    switch("quiet", "q", "Do not show the progress of a pull"),
    switch("read-only", "", "Make its root file system read-only"),
    Flag("restart", "", "policy", "What to do when it ends: no, on-failure[:n], always, unless-stopped", "no"),
    switch("rm", "", "Remove it, with its anonymous volumes, when it ends"),
    Flag("runtime", "", "string", "Runtime to use"),
    Flag("security-opt", "", "list", "Security option (no-new-privileges, seccomp=FILE, apparmor=NAME)"),
    Flag("shm-size", "", "bytes", "Size of /dev/shm", "0", quantities.size),
    Flag("stop-signal", "", "signal", "Signal that asks it to stop"),
    Flag("stop-timeout", "", "seconds", "Time it gets to stop before it is killed", "0", integer),
    Flag("storage-opt", "", "list", "Storage option (name=value)"),
    Flag("sysctl", "", "map", "Set a sysctl of its namespaces (name=value)", check=_sysctl),
    Flag("tmpfs", "", "list", "Mount a tmpfs (path[:options])"),
    switch("tty", "t", "Give it a terminal"),
    Flag("ulimit", "", "list", "Set a limit (nofile=1024:2048)", check=_ulimit),
    Flag("user", "u", "string", "User, and group, of the process (name|uid[:group|gid])"),
    Flag("userns", "", "string", "User namespace to use"),
    Flag("uts", "", "string", "UTS namespace to use"),
    Flag("volume", "v", "list", "Mount a folder or a volume ([source:]target[:options])"),
    Flag("volume-driver", "", "string", "Driver of its volumes"),
    Flag("volumes-from", "", "list", "Mount the volumes of another container"),
    Flag("workdir", "w", "folder", "Working directory of the process"),
)
# fmt: on
ALIASES = {"net": "network", "net-alias": "network-alias", "dns-opt": "dns-option"}


def body(line: Parsed, *, detached: bool = False) -> dict[str, Any]:
    """The request's JSON. `detached` attaches to nothing. Raises Failure in Docker's words."""
    _check(line)
    exposed, bindings = ports.published(line.list("publish"))
    exposed += ports.exposed(line.list("expose"))
    binds, anonymous = mounts.volumes(line.list("volume"))
    config = _config(line, detached=detached)
    if exposed:
        config["ExposedPorts"] = {port: {} for port in exposed}
    if anonymous:
        config["Volumes"] = anonymous
    mode, networks = endpoints(line)
    host = {"NetworkMode": mode, **_host(line), **_resources(line)}
    if bindings:
        host["PortBindings"] = bindings
    if binds:
        host["Binds"] = binds
    return {**config, "HostConfig": host, "NetworkingConfig": {"EndpointsConfig": networks}}


def _check(line: Parsed) -> None:
    if line.text("pull") not in ("always", "missing", "never"):
        raise Failure(f'invalid pull option: \'{line.text("pull")}\': must be one of "always", "missing" or "never"')
    swappiness = line.number("memory-swappiness")
    if swappiness != -1 and not 0 <= swappiness <= 100:
        raise Failure(f"invalid value: {swappiness}. Valid memory swappiness range is 0-100")
    for flag, name, allowed in (
        ("pid", "PID", ("", "host")),
        ("uts", "UTS", ("", "host")),
        ("userns", "USER", ("", "host")),
        ("cgroupns", "CGROUP", ("", "host", "private")),
    ):
        value = line.text(flag)
        if value not in allowed and not (flag == "pid" and value.startswith("container:") and len(value) > 10):
            raise Failure(f"--{flag}: invalid {name} mode")
    if line.on("rm") and line.text("restart") not in ("no", ""):
        raise Failure("conflicting options: cannot specify both --restart and --rm")


def _config(line: Parsed, *, detached: bool) -> dict[str, Any]:
    streams = line.list("attach") or ["stdout", "stderr"]
    attach = [] if detached else [name.lower() for name in streams]
    interactive = line.on("interactive")
    if interactive and not detached:
        attach.append("stdin")
    image, *command = line.arguments
    config: dict[str, Any] = {
        "Image": image,
        "AttachStdin": "stdin" in attach,
        "AttachStdout": "stdout" in attach,
        "AttachStderr": "stderr" in attach,
        "Tty": line.on("tty"),
        "OpenStdin": interactive,
        "StdinOnce": interactive and "stdin" in attach,
    }
    texts = {
        "Hostname": "hostname", "Domainname": "domainname", "User": "user", "WorkingDir": "workdir",
        "StopSignal": "stop-signal",
    }  # fmt: skip
    config.update({key: line.text(flag) for key, flag in texts.items() if line.text(flag)})
    if command:
        config["Cmd"] = command
    if line.given("entrypoint"):
        config["Entrypoint"] = [line.text("entrypoint")]
    if environment := variables(line):
        config["Env"] = environment
    labels = [entry for path in line.list("label-file") for entry in _file(path, "label")] + line.list("label")
    if labels:
        config["Labels"] = quantities.pairs(labels)
    if line.given("stop-timeout"):
        config["StopTimeout"] = line.number("stop-timeout")
    if health := _health(line):
        config["Healthcheck"] = health
    return config


def variables(line: Parsed) -> list[str]:
    """--env-file, then --env; a bare name is the caller's own variable, if there is one."""
    result = [entry for path in line.list("env-file") for entry in _file(path, "env")]
    for entry in line.list("env"):
        if "=" in entry:
            result.append(entry)
        else:
            result.append(f"{entry}={os.environ[entry]}" if entry in os.environ else entry)
    return result


def _file(path: str, kind: str) -> list[str]:
    return quantities.lines_of_file(path, os.environ, kind=kind)


def _health(line: Parsed) -> dict[str, Any]:
    times = {
        "Interval": "health-interval", "Timeout": "health-timeout", "StartPeriod": "health-start-period",
        "StartInterval": "health-start-interval",
    }  # fmt: skip
    asked = [flag for flag in ("health-cmd", "health-retries", *times.values()) if line.given(flag)]
    if line.on("no-healthcheck"):
        if asked:
            raise Failure("--no-healthcheck conflicts with --health-* options")
        return {"Test": ["NONE"]}
    health: dict[str, Any] = {}
    if line.text("health-cmd"):
        health["Test"] = ["CMD-SHELL", line.text("health-cmd")]
    for key, flag in times.items():
        value = quantities.duration(line.text(flag))
        if value < 0:
            raise Failure(f"--{flag} cannot be negative")
        if value:
            health[key] = value
    retries = line.number("health-retries")
    if retries < 0:
        raise Failure("--health-retries cannot be negative")
    if retries:
        health["Retries"] = retries
    return health


def _host(line: Parsed) -> dict[str, Any]:
    texts = {
        "ContainerIDFile": "cidfile", "VolumeDriver": "volume-driver", "IpcMode": "ipc", "PidMode": "pid",
        "UTSMode": "uts", "UsernsMode": "userns", "CgroupnsMode": "cgroupns", "Runtime": "runtime",
        "Isolation": "isolation",
    }  # fmt: skip
    lists = {
        "VolumesFrom": "volumes-from", "GroupAdd": "group-add", "Links": "link",
    }  # fmt: skip
    switches = {
        "AutoRemove": "rm", "Privileged": "privileged", "PublishAllPorts": "publish-all", "ReadonlyRootfs": "read-only",
    }  # fmt: skip
    maps = {"StorageOpt": "storage-opt", "Sysctls": "sysctl", "Annotations": "annotation"}
    host: dict[str, Any] = {key: line.text(flag) for key, flag in texts.items() if line.text(flag)}
    host.update({key: line.list(flag) for key, flag in lists.items() if line.list(flag)})
    host.update({key: True for key, flag in switches.items() if line.on(flag)})
    host.update({key: quantities.pairs(line.list(flag)) for key, flag in maps.items() if line.list(flag)})
    host.update(_capabilities(line.list("cap-add"), line.list("cap-drop")))
    host["RestartPolicy"] = restart_policy(line.text("restart"))
    options = quantities.pairs(line.list("log-opt"))
    if line.text("log-driver") == "none" and options:
        raise Failure("invalid logging opts for driver none")
    host["LogConfig"] = {"Type": line.text("log-driver"), "Config": options}
    if line.list("dns"):
        host["Dns"] = [_dns_address(text) for text in line.list("dns")]
    if line.list("dns-option"):
        host["DnsOptions"] = line.list("dns-option")
    if line.list("dns-search"):
        host["DnsSearch"] = line.list("dns-search")
    if line.list("add-host"):
        host["ExtraHosts"] = [_host_entry(text) for text in line.list("add-host")]
    if line.list("tmpfs"):
        host["Tmpfs"] = mounts.tmpfs(line.list("tmpfs"))
    if line.list("mount"):
        host["Mounts"] = [mounts.mount(text) for text in line.list("mount")]
    if line.given("init"):
        host["Init"] = line.on("init")
    if size := quantities.size(line.text("shm-size")):
        host["ShmSize"] = size
    host.update(_security(line.list("security-opt")))
    if line.number("oom-score-adj"):
        host["OomScoreAdj"] = line.number("oom-score-adj")
    return host


def _capabilities(add: list[str], drop: list[str]) -> dict[str, list[str]]:
    """In the form CAP_NET_ADMIN, sorted; what is both added and dropped is added."""

    def named(text: str) -> str:
        name = text.strip().upper()
        return name if name == "ALL" or name.startswith("CAP_") else f"CAP_{name}"

    added = {named(text) for text in add}
    dropped = {named(text) for text in drop} - added
    return {key: sorted(names) for key, names in (("CapAdd", added), ("CapDrop", dropped)) if names}


def _resources(line: Parsed) -> dict[str, Any]:
    numbers = {
        "CpuShares": "cpu-shares", "BlkioWeight": "blkio-weight", "CpuPeriod": "cpu-period", "CpuQuota": "cpu-quota",
        "CpuRealtimePeriod": "cpu-rt-period", "CpuRealtimeRuntime": "cpu-rt-runtime", "PidsLimit": "pids-limit",
    }  # fmt: skip
    sizes = {"Memory": "memory", "MemoryReservation": "memory-reservation", "MemorySwap": "memory-swap"}
    texts = {"CgroupParent": "cgroup-parent", "CpusetCpus": "cpuset-cpus", "CpusetMems": "cpuset-mems"}
    result: dict[str, Any] = {key: line.number(flag) for key, flag in numbers.items() if line.number(flag)}
    result.update(
        {key: value for key, flag in sizes.items() if (value := quantities.size_or_unlimited(line.text(flag)))}
    )
    result.update({key: line.text(flag) for key, flag in texts.items() if line.text(flag)})
    if line.text("cpus"):
        result["NanoCpus"] = quantities.cpus(line.text("cpus"))
    if line.number("memory-swappiness") != -1:
        result["MemorySwappiness"] = line.number("memory-swappiness")
    if line.on("oom-kill-disable"):
        result["OomKillDisable"] = True
    if line.list("ulimit"):
        result["Ulimits"] = sorted(
            (_ulimit(text) for text in line.list("ulimit")), key=lambda limit: str(limit["Name"])
        )
    if line.list("device"):
        try:
            result["Devices"] = [mounts.device(text) for text in line.list("device")]
        except ValueError as error:
            raise Failure(str(error)) from None
    if line.list("device-cgroup-rule"):
        result["DeviceCgroupRules"] = line.list("device-cgroup-rule")
    return result


def restart_policy(text: str) -> dict[str, Any]:
    """`on-failure:3` → name and count."""
    name, colon, count = text.partition(":")
    if colon and not name:
        raise Failure("invalid restart policy format: no policy provided before colon")
    try:
        return {"Name": name, "MaximumRetryCount": int(count) if colon else 0}
    except ValueError:
        raise Failure("invalid restart policy format: maximum retry count must be an integer") from None


def _security(options: list[str]) -> dict[str, Any]:
    """SecurityOpt, with a seccomp profile read from its file; `systempaths=unconfined` unmasks /proc and /sys."""
    result: dict[str, Any] = {}
    kept: list[str] = []
    for option in options:
        name, separator, value = option.partition("=") if "=" in option else option.partition(":")
        if not separator and name != "no-new-privileges":
            raise Failure(f'Invalid --security-opt: "{option}"')
        if option == "systempaths=unconfined":
            result.update(MaskedPaths=[], ReadonlyPaths=[])
            continue
        if name == "seccomp" and value not in ("unconfined", "builtin"):
            from pathlib import Path

            try:
                option = "seccomp=" + json.dumps(json.loads(Path(value).read_bytes()), separators=(",", ":"))
            except OSError as error:
                reason = (error.strerror or str(error)).lower()
                raise Failure(f"opening seccomp profile ({value}) failed: open {value}: {reason}") from None
            except ValueError as error:
                raise Failure(f"compacting json for seccomp profile ({value}) failed: {error}") from None
        kept.append(option)
    if kept:
        result["SecurityOpt"] = kept
    return result
