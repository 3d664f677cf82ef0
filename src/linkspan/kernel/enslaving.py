"""An interface of the host's own as a port of a bridge of ours, so that containers are on its wire; and freed again.

The host's addresses and routes are on the bridge meanwhile, which has the interface's MAC address: neighbours and
switches see no difference, and established sessions go on. No frame may be lost on the way, so:

- the bridge has all that the interface has before anything is sent over it, what is known of neighbours included;
- while the interface becomes a port, and while it ceases to be one, the kernel drops what comes in there: meanwhile it
  is handed to the bridge as if it had come in there;
- nothing is sent over the bridge before it says that it sends;
- source addresses are not held against the way back (rp_filter) while there are two ways.

Each step finds what it needs in the kernel and not in a memory: whoever is killed between two of them leaves a state
that the same steps, begun anew, bring to its end, forward or back. An interface in such a bridge is known by the
bridge's alias, `linkspan:flat:<interface>`. Where the gateway has answered before and does not afterwards, all of it is
taken back.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import time
from collections.abc import Iterator

from linkspan.errors import Conflict, Internal, LinkspanError
from linkspan.kernel import moving, probe, rtnetlink, sysctl
from linkspan.kernel.detour import detour
from linkspan.kernel.failure import explain
from linkspan.kernel.netlink import NetlinkSocket
from linkspan.state.objects import FLAT, Enslaved

log = logging.getLogger(__name__)

_CARRIER = 2.0  # seconds for a bridge to say that it sends
_BEFORE, _AFTER = 0.3, 2.0  # seconds in which the gateway answers
_LOOSE = "2"
_NONE = "1"
# Settings of an interface that are its bridge's too.
_SETTINGS = {
    "ipv4/conf": (
        *("accept_local", "accept_redirects", "accept_source_route", "arp_accept", "arp_announce", "arp_filter"),
        *("arp_ignore", "forwarding", "log_martians", "proxy_arp", "route_localnet", "secure_redirects"),
        *("send_redirects", "shared_media", "src_valid_mark"),
    ),
    "ipv6/conf": (
        *("accept_ra", "accept_ra_defrtr", "accept_ra_pinfo", "accept_ra_rt_info_max_plen", "accept_ra_rtr_pref"),
        *("accept_redirects", "autoconf", "disable_ipv6", "forwarding", "proxy_ndp", "use_tempaddr"),
    ),
}


class Enslaving:
    """Works in the namespace of the calling thread, which is the host's, as `host` is."""

    def __init__(self, host: NetlinkSocket) -> None:
        self._host = host
        # What bridges had when they were last looked at, by interface: who removes such a bridge removes that too.
        self._known: dict[str, moving.Held] = {}

    def make(self, item: Enslaved) -> None:
        """The bridge, with all that the interface has. Where there is no such interface, a bridge that waits for it.

        Raises errors of ours.
        """
        with _failing(item):
            nic, there = self._link(item.nic), self._link(item.name)
            inside = bool(nic and there and nic.master_index == there.interface.index)
            if nic and not inside:
                if nic.master_index:
                    raise Conflict(f"{_what(item)}: {item.nic} is a port of another bridge already")
                if not nic.interface.up:
                    raise Conflict(f"{_what(item)}: {item.nic} is down: ip link set {item.nic} up")
            bridge = self._bridge(item, nic, there)
            if nic and inside:
                self._settle(item, nic, bridge)
            elif nic:
                self._enter(item, nic, bridge)

    def free(self, item: Enslaved) -> None:
        """The interface has everything again, and the bridge is gone. Raises errors of ours."""
        with _failing(item, "free"):
            bridge = self._link(item.name)
            if bridge is None:
                return
            nic = self._link(item.nic)
            if nic is None:
                log.warning("the interface %s is gone, and what bridge %s had goes too", item.nic, item.name)
            else:
                self._leave(item, nic, bridge)
            rtnetlink.delete_link(self._host, item.name)
            self._known.pop(item.nic, None)

    def read(self, found: list[rtnetlink.Link]) -> Iterator[Enslaved]:
        """Those that there are, among the host's links. OSError."""
        by_name = {item.interface.name: item for item in found}
        for bridge in found:
            alias = bridge.interface.alias
            if not alias.startswith(FLAT) or bridge.interface.kind != "bridge":
                continue
            name, nic = bridge.interface.name, by_name.get(alias.removeprefix(FLAT))
            settled = bridge.interface.up and (nic is None or self._is_settled(nic, bridge))
            if settled and nic:
                self._known[nic.interface.name] = moving.held(self._host, bridge.interface.index, name)
            yield Enslaved(name, alias.removeprefix(FLAT), settled=settled)

    # -- steps --------------------------------------------------------------------------------------------------------

    def _enter(self, item: Enslaved, nic: rtnetlink.Link, bridge: rtnetlink.Link) -> None:
        here, there = nic.interface.index, bridge.interface.index
        has = moving.held(self._host, here, item.nic)
        gateway = next((pair for pair in has.gateways() if probe.answers(item.nic, *pair, _BEFORE)), None)
        try:
            moving.give(self._host, has, there)
            with _taken_over(here, there):
                rtnetlink.set_master(self._host, here, there)
                self._await_carrier(item)
                moving.switch(self._host, has, there)
                moving.take(self._host, has)
            self._settle(item, nic, bridge)
            if gateway and not probe.answers(item.name, *gateway, _AFTER):
                raise Internal(f"{_what(item)}: the gateway {gateway[0]} does not answer there, so it was taken back")
        except (OSError, LinkspanError):
            self._leave(item, nic, bridge)
            rtnetlink.delete_link(self._host, item.name)
            raise

    def _settle(self, item: Enslaved, nic: rtnetlink.Link, bridge: rtnetlink.Link) -> None:
        """A port already: what is still on the interface, or has come since, goes over to the bridge."""
        here, there = nic.interface.index, bridge.interface.index
        if has := moving.held(self._host, here, item.nic):
            self._await_carrier(item)
            moving.give(self._host, has, there)
            moving.switch(self._host, has, there)
            moving.take(self._host, has)
        _set_filter(item.name, sysctl.read(f"net/ipv4/conf/{item.nic}/rp_filter") or "0")
        _set_own_addresses(item.name, sysctl.read(f"net/ipv6/conf/{item.nic}/addr_gen_mode") or "0")

    def _leave(self, item: Enslaved, nic: rtnetlink.Link, bridge: rtnetlink.Link) -> None:
        here, there = nic.interface.index, bridge.interface.index
        _set_filter(item.name, _LOOSE)
        has = moving.held(self._host, there, item.name)
        moving.give(self._host, has, here)
        moving.switch(self._host, has, here)
        # The bridge has its addresses to the end: what comes in at a link without any passes no check of its source.
        if rtnetlink.link(self._host, item.nic).master_index == there:
            with _taken_over(here, there):
                rtnetlink.set_master(self._host, here, 0)

    def _bridge(self, item: Enslaved, nic: rtnetlink.Link | None, there: rtnetlink.Link | None) -> rtnetlink.Link:
        """The bridge, up, with the interface's MAC address and settings. What it had when it was removed by others, it
        has again."""
        if there and (there.interface.kind != "bridge" or there.interface.alias != item.alias):
            raise Conflict(
                f"interface {item.name} exists already and was not made by linkspan: remove it, or choose another name"
            )
        was_up = there is not None and there.interface.up
        mac, mtu = (nic.interface.mac, nic.interface.mtu) if nic else ("", 0)
        rtnetlink.put_flat_bridge(self._host, item.name, item.alias, mac, mtu, new=there is None)
        if not was_up:
            if nic:
                _copy_settings(item.nic, item.name)
            _set_filter(item.name, _LOOSE)
            _set_own_addresses(item.name, _NONE)
            rtnetlink.up(self._host, item.name)
        bridge = rtnetlink.link(self._host, item.name)
        lost = self._known.get(item.nic) if not was_up else None
        if lost and nic and not moving.held(self._host, nic.interface.index, item.nic).lasting:
            moving.give(self._host, lost, bridge.interface.index)
            moving.switch(self._host, lost, bridge.interface.index)
        return bridge

    def _is_settled(self, nic: rtnetlink.Link, bridge: rtnetlink.Link) -> bool:
        if nic.master_index != bridge.interface.index:
            return False
        return not moving.held(self._host, nic.interface.index, nic.interface.name).lasting

    def _await_carrier(self, item: Enslaved) -> None:
        """A bridge sends a moment after it has got its first port. One whose port has no carrier has none to wait
        for."""
        end = time.monotonic() + _CARRIER
        while not rtnetlink.sends(self._host, item.name):
            if time.monotonic() > end or not rtnetlink.sends(self._host, item.nic):
                return
            time.sleep(0.001)

    def _link(self, name: str) -> rtnetlink.Link | None:
        try:
            return rtnetlink.link(self._host, name)
        except OSError as error:
            if error.errno != errno.ENODEV:
                raise
            return None


@contextlib.contextmanager
def _taken_over(here: int, there: int) -> Iterator[None]:
    """What comes in at the interface is the bridge's, port or not. Where that cannot be had, a frame may
    be lost."""
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(detour(here, there))
        except OSError as error:
            log.info("what comes in at an interface while it moves cannot be kept: %s", error.strerror)
        yield


@contextlib.contextmanager
def _failing(item: Enslaved, verb: str = "enslave") -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno == errno.EBUSY:
            raise Conflict(
                f"{_what(item, verb)}: {item.nic} is in use otherwise, by macvlan links or another bridge"
            ) from None
        raise explain(error, f"{verb} interface {item.nic} to bridge {item.name}") from error


def _what(item: Enslaved, verb: str = "enslave") -> str:
    return f"cannot {verb} interface {item.nic} to bridge {item.name}"


def _copy_settings(source: str, target: str) -> None:
    for place, names in _SETTINGS.items():
        for name in names:
            value = sysctl.read(f"net/{place}/{source}/{name}")
            if value is not None:
                with contextlib.suppress(OSError):
                    sysctl.write(f"net/{place}/{target}/{name}", value)


def _set_filter(interface: str, value: str) -> None:
    with contextlib.suppress(OSError):  # a kernel may lack it
        sysctl.write(f"net/ipv4/conf/{interface}/rp_filter", value)


def _set_own_addresses(interface: str, how: str) -> None:
    """How the kernel makes a link's own IPv6 addresses. A new one would be probed for a second: the interface's own,
    which the bridge gets, is there at once."""
    with contextlib.suppress(OSError):
        sysctl.write(f"net/ipv6/conf/{interface}/addr_gen_mode", how)
