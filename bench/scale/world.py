"""The cluster that is played: networks of the overlay driver, and hosts with containers spread over them."""

from __future__ import annotations

import ipaddress
import time

from linkspan.drivers.bridge import BridgeDriver
from linkspan.drivers.overlay import OverlayDriver
from linkspan.model.cluster import Host
from linkspan.model.container import Config, Container, HostConfig
from linkspan.model.endpoint import Endpoint, Sandbox
from linkspan.model.network import Network, Pool
from linkspan.model.snapshot import Write, put
from linkspan.state.host import Underlay

ROOT = "/linkspan/v1/"
DRIVERS = {driver.name: driver for driver in (BridgeDriver(), OverlayDriver(underlay=Underlay("eth0", "10.255.0.1")))}


def network(number: int) -> Network:
    subnet = ipaddress.IPv4Network((int(ipaddress.IPv4Address("10.0.0.0")) + (number << 16), 16))
    return Network(
        id=f"{number:04x}".ljust(64, "a"),
        name=f"network{number}",
        driver="overlay",
        created="t",
        scope="global",
        bridge=f"br-{number:04x}",
        mtu=1450,
        vni=4096 + number,
        pools=(Pool(subnet=str(subnet), gateway=str(subnet[1])),),
    )


def host(number: int) -> Host:
    return Host(id=f"host-{number:04}", name=f"h{number}", address=str(ipaddress.IPv4Address("10.255.0.2") + number))


def container(of: int, number: int, networks: int, hosts: int) -> tuple[Write, ...]:
    """A container of a host with its endpoint. Its name says when it was made, on a clock that all processes share."""
    on = network((of + number) % networks)
    place = 2 + of + hosts * (number // networks) + hosts * (number % networks)
    address = str(ipaddress.ip_network(on.pools[0].subnet)[place % 65000 + 2])
    id_ = f"{of:04x}{number:04x}".ljust(64, "c")
    mac = "02:42:" + ":".join(f"{int(part):02x}" for part in address.split("."))
    return (
        put(
            Container(
                id=id_,
                name=f"c{of}-{number}-{time.monotonic_ns()}",
                created="t",
                image_id="",
                config=Config(hostname=id_[:12]),
                host_config=HostConfig(network_mode=on.name),
                networks={},
            )
        ),
        put(Sandbox(id=id_, container_id=id_, kind="own", path=f"/run/netns/{id_[:12]}")),
        put(
            Endpoint(
                id=id_,
                network_id=on.id,
                sandbox_id=id_,
                container_id=id_,
                interface="eth0",
                host_interface=f"veth{id_[:11]}",
                mac=mac,
                address=address,
                prefix_length=16,
                gateway=on.pools[0].gateway,
            )
        ),
    )
