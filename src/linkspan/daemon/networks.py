"""The network verbs, as the front doors call them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from linkspan.daemon.views import NetworkView
from linkspan.model.container import EndpointSettings
from linkspan.model.network import Pool


class Networks:
    """`ref` is a name, an id or a unique prefix of an id. NotFound's text is `network REF not found`."""

    def view(self, ref: str) -> NetworkView:
        raise NotImplementedError

    def views(self) -> list[NetworkView]:
        raise NotImplementedError

    async def create(
        self,
        name: str,
        *,
        driver: str,
        pools: tuple[Pool, ...],
        ipam_driver: str,
        options: Mapping[str, str],
        ipam_options: Mapping[str, str],
        labels: Mapping[str, str],
        internal: bool,
        attachable: bool,
        ipv4: bool,
        ipv6: bool,
    ) -> tuple[str, str]:
        """The new network's id, and a warning or ""."""
        raise NotImplementedError

    async def remove(self, ref: str) -> None:
        raise NotImplementedError

    async def prune(self, keep: Callable[[NetworkView], bool]) -> list[str]:
        """Removes the unused networks, except what `keep` says; answers their names."""
        raise NotImplementedError

    async def connect(self, ref: str, container: str, settings: EndpointSettings) -> None:
        raise NotImplementedError

    async def disconnect(self, ref: str, container: str, *, force: bool) -> None:
        raise NotImplementedError

    def nat_table(self) -> list[dict[str, Any]]:
        """The effective rules as rows in the columns of `iptables -t nat -nL`, in order:
        chain, target, prot, opt, source, destination, extra; and whose: container, network."""
        raise NotImplementedError

    async def nat_ruleset(self) -> str:
        """The real nftables ruleset as nft prints it, each element's comment replaced by container and network."""
        raise NotImplementedError
