"""`--network` and the flags around it: the networks that a container joins, and as what."""

from __future__ import annotations

import re
from typing import Any

from linkspan.cli.failure import Failure
from linkspan.cli.flags import Parsed, integer
from linkspan.cli.quantities import fields

PREDEFINED = ("default", "bridge", "host", "none")
_MAC = re.compile(r"[0-9a-fA-F]{2}([:-])(?:[0-9a-fA-F]{2}\1){4}[0-9a-fA-F]{2}|(?:[0-9a-fA-F]{4}\.){2}[0-9a-fA-F]{4}")


def long_form(text: str) -> dict[str, Any]:
    """One --network: a name, or `name=…,alias=…,ip=…`. Raises ValueError in Docker's words."""
    wanted: dict[str, Any] = {"name": "", "aliases": [], "link_local": [], "driver_options": {}}
    if "=" not in text:
        wanted["name"] = text
        return wanted
    for field in fields(text):
        key, equals, value = field.partition("=")
        key, value = key.strip().lower(), value.strip()
        if not equals or not key:
            raise ValueError(f"invalid field {field}")
        match key:
            case "name":
                wanted["name"] = value
            case "alias":
                wanted["aliases"].append(value)
            case "ip" | "ip6" | "mac-address":
                wanted[key] = value
            case "link-local-ip":
                wanted["link_local"].append(value)
            case "driver-opt":
                name, inner, option = value.partition("=")
                if not inner or not name:
                    raise ValueError("invalid key/value pair format in driver options")
                wanted["driver_options"][name.strip()] = option.strip()
            case "gw-priority":
                wanted["priority"] = integer(value)
            case _:
                raise ValueError(f"invalid field key {key}")
    if not wanted["name"]:
        raise ValueError("network name/id is not specified")
    return wanted


def endpoints(line: Parsed) -> tuple[str, dict[str, dict[str, Any]]]:
    """HostConfig's NetworkMode and NetworkingConfig's EndpointsConfig. Raises Failure in Docker's words."""
    networks = [long_form(text) for text in line.list("network")] or [long_form("default")]
    _apply_flags(line, networks[0])
    kinds = {_is_user_defined(network["name"]) for network in networks}
    if len(networks) > 1 and len(kinds) > 1:
        raise Failure("conflicting options: cannot attach both user-defined and non-user-defined network-modes")
    result: dict[str, dict[str, Any]] = {}
    for network in networks:
        if network["name"] in result:
            raise Failure(f'network "{network["name"]}" is specified multiple times')
        result[network["name"]] = _endpoint(network)
    if len(line.list("network")) == 1 and not any(result.values()):
        result = {}  # as Docker's command does it: NetworkMode says it all
    return networks[0]["name"], result


def _apply_flags(line: Parsed, network: dict[str, Any]) -> None:
    """--ip and its like belong to the first network."""
    for flag, key, name in (
        ("network-alias", "aliases", "alias"),
        ("link", "links", "links"),
        ("ip", "ip", "IPv4 address"),
        ("ip6", "ip6", "IPv6 address"),
        ("mac-address", "mac-address", "MAC address"),
        ("link-local-ip", "link_local", "link-local IP addresses"),
    ):
        if not line.list(flag):
            continue
        if network.get(key):
            raise Failure(f"conflicting options: cannot specify both --{flag} and per-network {name}")
        many = key in ("aliases", "links", "link_local")
        network[key] = list(line.list(flag)) if many else line.text(flag)


def _endpoint(network: dict[str, Any]) -> dict[str, Any]:
    name = network["name"]
    if not name.strip():
        raise Failure("no name set for network")
    if not _is_user_defined(name):
        if network["aliases"]:
            raise Failure("network-scoped aliases are only supported for user-defined networks")
        if network.get("links") and name not in ("default", "bridge"):
            raise Failure("links are only supported for user-defined networks")
    endpoint: dict[str, Any] = {}
    if network["aliases"]:
        endpoint["Aliases"] = network["aliases"]
    if network.get("links") and _is_user_defined(name):  # elsewhere HostConfig has them
        endpoint["Links"] = network["links"]
    if network["driver_options"]:
        endpoint["DriverOpts"] = network["driver_options"]
    if network.get("priority"):
        endpoint["GwPriority"] = network["priority"]
    ipam: dict[str, Any] = {}
    if network.get("ip"):
        ipam["IPv4Address"] = network["ip"]
    if network.get("ip6"):
        ipam["IPv6Address"] = network["ip6"]
    if network["link_local"]:
        ipam["LinkLocalIPs"] = network["link_local"]
    if ipam:
        endpoint["IPAMConfig"] = ipam
    mac = network.get("mac-address", "")
    if mac:
        if not _MAC.fullmatch(mac.strip()):
            raise Failure(f"{mac} is not a valid mac address")
        endpoint["MacAddress"] = mac.strip()
    return endpoint


def _is_user_defined(name: str) -> bool:
    return name not in PREDEFINED and not name.startswith("container:")
