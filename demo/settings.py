"""NetworkSettings, as the talk lists them."""

from typing import Any

from demo.stage import Stage
from demo.step import Check, Output, require, succeeded

TOP_LEVEL = {
    "Bridge",
    "SandboxID",
    "HairpinMode",
    "LinkLocalIPv6Address",
    "LinkLocalIPv6PrefixLen",
    "Ports",
    "SandboxKey",
    "SecondaryIPAddresses",
    "SecondaryIPv6Addresses",
    "EndpointID",
    "Gateway",
    "GlobalIPv6Address",
    "GlobalIPv6PrefixLen",
    "IPAddress",
    "IPPrefixLen",
    "IPv6Gateway",
    "MacAddress",
    "Networks",
}
PER_NETWORK = {
    "IPAMConfig",
    "Links",
    "Aliases",
    "NetworkID",
    "EndpointID",
    "Gateway",
    "IPAddress",
    "IPPrefixLen",
    "IPv6Gateway",
    "GlobalIPv6Address",
    "GlobalIPv6PrefixLen",
    "MacAddress",
    "DriverOpts",
}
# What is empty where a container has no interface of its own.
EMPTY: dict[str, Any] = {
    "Bridge": "",
    "HairpinMode": False,
    "LinkLocalIPv6Address": "",
    "LinkLocalIPv6PrefixLen": 0,
    "Ports": {},
    "SecondaryIPAddresses": None,
    "SecondaryIPv6Addresses": None,
    "EndpointID": "",
    "Gateway": "",
    "GlobalIPv6Address": "",
    "GlobalIPv6PrefixLen": 0,
    "IPAddress": "",
    "IPPrefixLen": 0,
    "IPv6Gateway": "",
    "MacAddress": "",
}


def settings(stage: Stage, container: str) -> dict[str, Any]:
    """A container's NetworkSettings, which has every key of the talk's listing."""
    found: dict[str, Any] = stage.inspect(container)["NetworkSettings"]
    missing = TOP_LEVEL - set(found)
    require(not missing, f"keys missing: {sorted(missing)}")
    return found


def entry(found: dict[str, Any], network: str) -> dict[str, Any]:
    """The one entry of Networks, which has every key of the talk's listing."""
    require(list(found["Networks"]) == [network], f"Networks {sorted(found['Networks'])}")
    one: dict[str, Any] = found["Networks"][network]
    missing = PER_NETWORK - set(one)
    require(not missing, f"Networks.{network}: keys missing: {sorted(missing)}")
    return one


def empty(found: dict[str, Any]) -> None:
    """Raises Wrong unless everything that an interface would fill is empty."""
    wrong = {key: found[key] for key, value in EMPTY.items() if found[key] != value}
    require(not wrong, f"not empty: {wrong}")


def on_special(container: str, network: str, key: str) -> Check:
    """A check after `docker inspect`: empty settings, a sandbox whose key ends with `key`, one special network.

    In `key`, {sandbox} stands for the first twelve digits of the sandbox's id.
    """

    def check(stage: Stage, output: Output) -> str:
        succeeded(output)
        found = settings(stage, container)
        empty(found)
        require(len(found["SandboxID"]) == 64, f"SandboxID {found['SandboxID']!r}")
        wanted = key.format(sandbox=found["SandboxID"][:12])
        require(found["SandboxKey"].endswith(wanted), f"SandboxKey {found['SandboxKey']!r}")
        one = entry(found, network)
        require(one["IPAddress"] == "" and len(one["NetworkID"]) == 64, f"Networks.{network} {one}")
        return f'SandboxKey {found["SandboxKey"]}, Ports {{}}, IPAddress "", Networks.{network}'

    return check


def four(link: dict[str, Any]) -> list[str]:
    """IPv4 addresses of an interface with their prefix lengths."""
    return [f"{a['local']}/{a['prefixlen']}" for a in link.get("addr_info", ()) if a["family"] == "inet"]
