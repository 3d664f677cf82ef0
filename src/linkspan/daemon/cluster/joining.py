"""Who this host is in its cluster, and whether the store is one that it may use."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable, Sequence

from linkspan.errors import Conflict, InvalidArgument
from linkspan.kernel.contract import Interface, Kernel
from linkspan.state.host import Underlay
from linkspan.store.etcd.contract import Etcd
from linkspan.store.etcd.values import Put, absent

VERSION = "v1"  # of what is in the store: the folder under our prefix
FORMAT = b"linkspan 2"


async def check_store(etcd: Etcd, root: str) -> None:
    """Marks the store as ours where there is nothing yet under `root`. Raises Conflict where it is not for us."""
    key = f"{root}schema"
    if (found := await etcd.get(key)) is None:
        prefix = root.removesuffix(f"{VERSION}/")
        strange = [page.found[0].key async for page in etcd.pages(prefix) if page.found]
        # Another host may have been quicker to mark it: then what is there is its.
        if strange and await etcd.get(key) is None:
            raise Conflict(
                f"what is in etcd under {prefix} is not this linkspan's (there is {strange[0]}): "
                "give the cluster a prefix of its own, as in --cluster etcd://HOST:2379/PREFIX"
            )
        await etcd.txn([absent(key)], [Put(key, FORMAT)])
        found = await etcd.get(key)
    if found is not None and found.value != FORMAT:
        written = found.value.decode(errors="replace")
        raise Conflict(
            f"what is in etcd under {root} was written as {written!r}, this linkspand knows {FORMAT.decode()!r}"
        )


def find_underlay(kernel: Kernel, advertise: str, members: Iterable[str]) -> Underlay:
    """Where other hosts reach this one: at an address or an interface that the user names, else at the address with
    which it reaches etcd. Raises InvalidArgument."""
    interfaces = kernel.interfaces()
    if advertise:
        for interface in interfaces:
            if interface.name == advertise:
                # What an interface has is its bridge's while it is a port of one (a flat network).
                bridge = next((i for i in interfaces if i.name == interface.master), None)
                return _underlay(bridge if bridge and not interface.addresses else interface, "")
        address = _address(advertise)
        if address is None:
            raise InvalidArgument(
                f"--advertise {advertise}: there is no such interface on this host, nor is it an address"
            )
        found = _holder(interfaces, address)
        if found is None:
            raise InvalidArgument(f"--advertise {advertise}: no interface of this host has this address")
        return _underlay(found, address)
    for member in members:
        address = _source(member)
        if address and not ipaddress.ip_address(address).is_loopback and (found := _holder(interfaces, address)):
            return _underlay(found, address)
    raise InvalidArgument(
        "it is not clear at which address the other hosts of the cluster reach this one: say --advertise ADDRESS, or "
        "--advertise INTERFACE"
    )


def _underlay(interface: Interface, address: str) -> Underlay:
    own = [ipaddress.ip_interface(text).ip for text in interface.addresses]
    usable = [one for one in own if not (one.is_link_local or one.is_loopback)]
    chosen = {version: next((str(one) for one in usable if one.version == version), "") for version in (4, 6)}
    if address:
        chosen[ipaddress.ip_address(address).version] = address
    if not any(chosen.values()):
        raise InvalidArgument(f"--advertise {interface.name}: the interface has no address")
    on_link = tuple(str(ipaddress.ip_interface(a).network) for a in interface.addresses)
    return Underlay(interface.name, chosen[4], chosen[6], interface.mtu, on_link)


def _holder(interfaces: Sequence[Interface], address: str) -> Interface | None:
    wanted = ipaddress.ip_address(address)
    return next((i for i in interfaces if any(ipaddress.ip_interface(a).ip == wanted for a in i.addresses)), None)


def _address(text: str) -> str | None:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return None


def _source(host: str) -> str:
    """The address with which this host would send to another one; nothing is sent."""
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(host, 1, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.connect(place)
            return str(probe.getsockname()[0])
    except OSError:
        return ""
