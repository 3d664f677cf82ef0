"""The three files that tell a container who and where it is. Written as Docker writes them; a user who edits one in a
running container keeps the edit until the container starts again."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence

from linkspan.engine import links
from linkspan.errors import InvalidArgument
from linkspan.model.container import Container
from linkspan.model.resolv_conf import has_option, parse_resolv_conf
from linkspan.model.snapshot import Snapshot

_HOSTS = (
    ("127.0.0.1", "localhost"),
    ("::1", "localhost ip6-localhost ip6-loopback"),
    ("fe00::", "ip6-localnet"),
    ("ff00::", "ip6-mcastprefix"),
    ("ff02::1", "ip6-allnodes"),
    ("ff02::2", "ip6-allrouters"),
)
# Where the host itself asks a server on loopback, which a container cannot reach.
FALLBACK_SERVERS = ("8.8.8.8", "8.8.4.4")


def hosts_rows(
    snapshot: Snapshot, container: Container, host_gateways: Sequence[str], *, fixed: bool = True
) -> list[tuple[str, str]]:
    """/etc/hosts as (address, names): what every container has, --add-host, links, and its own name at each address.

    `host_gateways` is what host-gateway stands for. Without `fixed`, only the rows of the container's own.
    """
    config, host = container.config, container.host_config
    extra = [row for text in host.extra_hosts or () for row in parse_extra_host(text, host_gateways)]
    name = config.hostname
    own = f"{name}.{config.domainname} {name}" if config.domainname else name
    endpoints = snapshot.endpoints_in(container)
    addresses = [address for e in endpoints for address in (e.address, e.address6) if address]
    rows = [*extra, *links.host_rows(snapshot, container), *((address, own) for address in addresses)]
    if not fixed:
        return rows
    off = host.sysctls or {}
    with_ipv6 = all(off.get(f"net.ipv6.conf.{which}.disable_ipv6") != "1" for which in ("all", "lo"))
    return [*(row for row in _HOSTS if with_ipv6 or ":" not in row[0]), *rows]


def host_gateways(snapshot: Snapshot, container: Container, configured: Sequence[str]) -> list[str]:
    """What host-gateway stands for: the daemon's flag, or the host's addresses on the default bridge, as with Docker.

    Without a default bridge it is where the container sends what is not for its own subnets.
    """
    if configured:
        return list(configured)
    for network in snapshot.networks.values():
        if network.name == "bridge" and network.pools:
            return [pool.gateway for pool in network.pools if pool.gateway]
    endpoints = [e for e in snapshot.endpoints_in(container) if e.default_route]
    return [gateway for e in endpoints for gateway in (e.gateway, e.gateway6) if gateway]


def hosts_text(rows: Iterable[tuple[str, str]]) -> str:
    return "".join(f"{address}\t{names}\n" for address, names in rows)


def edited_hosts(text: str, before: Sequence[tuple[str, str]], after: Sequence[tuple[str, str]]) -> str:
    """The file once the rows are others. What a user has written into it stays."""
    gone = {hosts_text([row]) for row in before if row not in after}
    lines = text.splitlines(keepends=True)
    if lines and not lines[-1].endswith("\n"):
        lines[-1] += "\n"
    lines = [line for line in lines if line not in gone]
    return "".join(lines) + hosts_text(row for row in after if row not in before and hosts_text([row]) not in lines)


def parse_extra_host(text: str, host_gateways: Sequence[str]) -> list[tuple[str, str]]:
    """`name:address` or `name=address` as (address, name); `host-gateway` stands for each of the host's addresses.

    Raises InvalidArgument.
    """
    separator = "=" if "=" in text else ":"
    name, found, address = text.partition(separator)
    address = address.strip("[]")
    if not found or not name:
        raise InvalidArgument(f'bad format for add-host: "{text}"')
    if address == "host-gateway":
        if not host_gateways:
            raise InvalidArgument("unable to derive the IP value for host-gateway")
        return [(one, name) for one in host_gateways]
    try:
        ipaddress.ip_address(address)
    except ValueError:
        raise InvalidArgument(f'invalid IP address in add-host: "{address}"') from None
    return [(address, name)]


def resolv_conf_text(
    host: str,
    *,
    servers: Sequence[str],
    search: Sequence[str],
    options: Sequence[str],
    resolver: str = "",
    keep_loopback: bool = False,
) -> str:
    """/etc/resolv.conf from the host's own and what the user overrides, with comments on what came of what.

    `resolver` is the address of the one that answers in the sandbox, and asks the servers itself. Without it, servers
    on loopback are the host's alone, unless the container lives in the host's network (`keep_loopback`).
    """
    found = parse_resolv_conf(host)
    asked = tuple(servers) or found.servers
    domains = tuple(domain for domain in search or found.search if domain != ".")
    chosen_options = list(options or found.options)
    ndots = ("override" if options else "host") if has_option(chosen_options, "ndots") else ""
    remarks = list[str]()
    if resolver:
        chosen: tuple[str, ...] = (resolver,)
        if not ndots:
            chosen_options.append("ndots:0")  # names without a dot are ours: they come first
            ndots = "internal"
        where = "{}" if servers else "host({})"
        remarks.append(f"ExtServers: [{' '.join(map(where.format, asked))}]" if asked else "No external name servers")
    else:
        chosen = asked if servers or keep_loopback else tuple(s for s in asked if not _loopback(s))
        if not chosen and not keep_loopback:
            chosen = FALLBACK_SERVERS
            remarks.append("The host has no name server that a container could reach: used the default ones")
    if found.bad:
        remarks.append(f"Invalid name servers: {' '.join(found.bad)}")
    overridden = {"nameservers": servers, "search": search, "options": options}
    remarks.append(f"Overrides: [{' '.join(name for name, given in overridden.items() if given)}]")
    if ndots:
        remarks.append(f"Option ndots from: {ndots}")
    lines = [
        "# Generated by linkspan from the host's file. It may be edited: linkspan leaves it alone then, until the",
        "# container starts again.",
        "",
        *(f"nameserver {server}" for server in chosen),
        *(["search " + " ".join(domains)] if domains else ()),
        *(["options " + " ".join(chosen_options)] if chosen_options else ()),
        *found.other,
        "",
        *(f"# {remark}" for remark in remarks),
    ]
    return "\n".join(lines) + "\n"


def _loopback(server: str) -> bool:
    return ipaddress.ip_address(server.partition("%")[0]).is_loopback
