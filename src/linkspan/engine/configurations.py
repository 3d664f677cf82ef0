"""Networks that are only a configuration (`--config-only`), and those that take one (`--config-from`).

A configuration has what belongs to one host: subnets, options, labels. What an operator decides for the whole network
(internal, attachable, scope) stays with the network that takes it.
"""

from __future__ import annotations

import dataclasses

from linkspan.engine.request import NetworkRequest
from linkspan.errors import Forbidden, NotFound
from linkspan.model.network import Network
from linkspan.model.snapshot import Snapshot


def check_operator(request: NetworkRequest) -> None:
    """What only a swarm has. Raises Forbidden with Docker's words."""
    if request.ingress:
        raise Forbidden("Ingress network can only be global scope network")


def configuration(request: NetworkRequest) -> Network:
    """The record of a configuration. It has no pools of its own: its subnets are nobody's until a network takes them.

    Raises Forbidden with Docker's words.
    """
    if request.config_from:
        raise Forbidden("a configuration network cannot depend on another configuration network")
    if request.internal or request.attachable or request.ingress or request.scope:
        raise Forbidden(
            "configuration network can only contain network specific fields. Network operator fields like "
            "[ ingress | internal | attachable | scope ] are not supported."
        )
    return Network(
        id=request.id,
        name=request.name,
        driver="null",
        created=request.created,
        configured=request.pools,
        ipam_driver=request.ipam_driver,
        ipam_options=request.ipam_options,
        options=dict(request.options),
        labels=dict(request.labels),
        config_only=True,
        ipv4=request.ipv4,
        ipv6=request.ipv6,
    )


def with_configuration(snapshot: Snapshot, request: NetworkRequest) -> NetworkRequest:
    """The request with what its configuration says. Raises Forbidden where both say something, NotFound."""
    if not request.config_from:
        return request
    own = (request.pools, request.options, request.ipam_options, request.labels, request.ipv6)
    if any(own) or request.ipam_driver not in ("", "default"):
        raise Forbidden(
            "user specified configurations are not supported if the network depends on a configuration network"
        )
    named = (n for n in snapshot.networks.values() if n.config_only and n.name == request.config_from)
    if (found := next(named, None)) is None:
        raise NotFound(f'configuration network "{request.config_from}" does not exist')
    return dataclasses.replace(
        request,
        pools=found.configured,
        ipam_driver=found.ipam_driver,
        ipam_options=found.ipam_options,
        options=found.options,
        labels=found.labels,
        ipv4=found.ipv4,
        ipv6=found.ipv6,
    )
