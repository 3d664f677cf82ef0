"""`info`: what the engine says of itself."""

from __future__ import annotations

from typing import Any

from linkspan.cli import words
from linkspan.cli.flags import Flag, Invocation, Verb


def run(call: Invocation) -> int:
    info = call.client.get("/info")
    format = call.line.text("format")
    if not format:
        print(_text(info), end="")
        return 0
    from linkspan.cli.template import Template, to_json

    print(to_json(info) if format == "json" else Template(format).render(info))
    return 0


def _text(info: dict[str, Any]) -> str:
    lines = ["Server:"]
    for key in ("Containers", "Running", "Paused", "Stopped"):
        name = key if key == "Containers" else f"Containers{key}"
        lines.append(f" {'' if key == 'Containers' else ' '}{key}: {info.get(name, 0)}")
    for title, key in (
        ("Images", "Images"), ("Server Version", "ServerVersion"), ("Storage Driver", "Driver"),
    ):  # fmt: skip
        lines.append(f" {title}: {info.get(key, '')}")
    lines += [f"  {name}: {value}" for name, value in info.get("DriverStatus") or []]
    for title, key in (
        ("Logging Driver", "LoggingDriver"), ("Cgroup Driver", "CgroupDriver"), ("Cgroup Version", "CgroupVersion"),
    ):  # fmt: skip
        if info.get(key):
            lines.append(f" {title}: {info[key]}")
    plugins = info.get("Plugins") or {}
    lines.append(" Plugins:")
    lines += [f"  {key}: {' '.join(plugins[key])}" for key in ("Volume", "Network", "Log") if plugins.get(key)]
    lines.append(f" Swarm: {(info.get('Swarm') or {}).get('LocalNodeState') or 'inactive'}")
    if info.get("Runtimes"):
        lines.append(f" Runtimes: {' '.join(sorted(info['Runtimes']))}")
    for title, key in (
        ("Default Runtime", "DefaultRuntime"), ("Kernel Version", "KernelVersion"),
        ("Operating System", "OperatingSystem"), ("OSType", "OSType"), ("Architecture", "Architecture"),
        ("CPUs", "NCPU"),
    ):  # fmt: skip
        if info.get(key):
            lines.append(f" {title}: {info[key]}")
    lines.append(f" Total Memory: {words.binary_size(info.get('MemTotal') or 0)}")
    for title, key in (("Name", "Name"), ("ID", "ID"), ("Docker Root Dir", "DockerRootDir")):
        lines.append(f" {title}: {info.get(key, '')}")
    lines.append(f" Debug Mode: {str(bool(info.get('Debug'))).lower()}")
    registries = (info.get("RegistryConfig") or {}).get("InsecureRegistryCIDRs") or []
    if registries:
        lines += [" Insecure Registries:", *(f"  {name}" for name in registries)]
    lines.append(f" Live Restore Enabled: {str(bool(info.get('LiveRestoreEnabled'))).lower()}")
    if pools := info.get("DefaultAddressPools"):
        lines += [" Default Address Pools:", *(f"   Base: {pool['Base']}, Size: {pool['Size']}" for pool in pools)]
    if firewall := info.get("FirewallBackend"):
        lines.append(f" Firewall Backend: {firewall['Driver']}")
        lines += [f"  {name}: {value}" for name, value in firewall.get("Info") or []]
    lines += [f"WARNING: {text}" for text in info.get("Warnings") or []]
    return "\n".join(lines) + "\n"


VERB = Verb(
    "[OPTIONS]",
    "Show what the engine says of itself.",
    run,
    (Flag("format", "f", "string", "json, or a Go template ({{.ServerVersion}})"),),
    most=0,
)
