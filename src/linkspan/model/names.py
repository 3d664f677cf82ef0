"""What a container is called on a network, and what it calls others: the names that the resolver answers."""

from __future__ import annotations

from linkspan.errors import InvalidArgument
from linkspan.model.container import Container, EndpointSettings
from linkspan.model.network import Network


def dns_names(container: Container, network: Network) -> tuple[str, ...]:
    """Docker's order: the container's name, its aliases, the short id, the host name. The first is the reverse name.

    None on the predefined networks, where nobody has a name.
    """
    if network.predefined or container.shares_sandbox:
        return ()
    aliases = container.networks.get(network.id, EndpointSettings()).aliases or ()
    names = (container.name, *aliases, container.id[:12], container.config.hostname)
    return tuple(dict.fromkeys(name for name in names if name))


def parse_link(text: str) -> tuple[str, str]:
    """`container:alias` → (container, alias). `/container:/parent/alias`, as inspect prints it, is taken too.

    Raises InvalidArgument.
    """
    container, colon, alias = text.partition(":")
    if not text:
        raise InvalidArgument("empty string specified for links")
    if ":" in alias or not container or (colon and not alias):
        raise InvalidArgument(f"bad format for links: {text}")
    container, alias = container.removeprefix("/"), (alias or container).rpartition("/")[2]
    if not container or not alias:
        raise InvalidArgument(f"bad format for links: {text}")
    return container, alias


def link_names(settings: EndpointSettings) -> dict[str, str]:
    """On a user-defined network a link is a name that one container alone has for another: alias → container."""
    return {alias: container for container, alias in map(parse_link, settings.links or ())}
