"""Token buckets: what leaves an interface, or comes in at it, at a rate at most.

What comes in cannot wait where it comes in: it is sent over an ifb link of its own, whose token bucket it passes, and
then goes on as if it had just come. Formats: linux/rtnetlink.h, linux/pkt_sched.h, linux/pkt_cls.h, linux/tc_act.
"""

from __future__ import annotations

import dataclasses
import errno
import socket
import struct
from collections.abc import Collection, Iterator

from linkspan.kernel import rtnetlink
from linkspan.kernel.netlink import (
    ACK,
    CREATE,
    EXCL,
    REPLACE,
    NetlinkSocket,
    attribute,
    attributes,
    nested,
    number,
    string,
    text,
    u32,
    u64,
)
from linkspan.state.objects import Shaper

HANDLE = 0x4C530000  # "LS": marks our token buckets
EVENTS = 4  # RTNLGRP_TC, the group that hears of queues and filters

_NEWQDISC, _DELQDISC, _GETQDISC = 36, 37, 38
_NEWTFILTER, _DELTFILTER, _GETTFILTER = 44, 45, 46
_MESSAGE = struct.Struct("=BxxxiIII")  # family, index, handle, parent, info
_ROOT, _CLSACT, _INGRESS = 0xFFFFFFFF, 0xFFFFFFF1, 0xFFFFFFF2
_CLSACT_HANDLE = 0xFFFF0000
_KIND, _OPTIONS = 1, 2
_TBF_PARMS, _TBF_RATE64, _TBF_BURST = 1, 4, 6
_RATE = struct.Struct("=BBHhHI")  # cell log, link layer, overhead, cell align, mpu, bytes a second
_ETHERNET = 1
_TICK = 64  # nanoseconds, in which the kernel tells the size of a bucket
_BESIDE = "-in"
_WAIT = 0.05  # seconds of the rate that may wait in the queue
_LEAST_QUEUE = 1 << 16
_U32_SELECTOR, _U32_ACTION = 5, 7
_EVERYTHING = struct.pack("=BBBxHHhhI", 1, 0, 1, 0, 0, 0, 0, 0) + struct.pack("=IIii", 0, 0, 0, 0)
_ALL_PROTOCOLS = (1 << 16) | socket.htons(3)  # priority 1, ETH_P_ALL
_MIRRED_PARMS = 2
_MIRRED = struct.Struct("=IIiiiiI")  # index, capabilities, action, references, bound, what, interface
_STOLEN, _REDIRECT = 4, 1


def set_shaper(inside: NetlinkSocket, shaper: Shaper) -> None:
    """Makes or changes it. OSError; a failure to make what comes in pass leaves nothing."""
    if shaper.inward:
        _set_inward(inside, shaper)
    else:
        _set_bucket(inside, _index(inside, shaper.interface), shaper)


def delete_shaper(inside: NetlinkSocket, shaper: Shaper) -> None:
    """What is not there is no error."""
    try:
        index = _index(inside, shaper.interface)
        if shaper.inward:
            _request(inside, _DELQDISC, 0, _MESSAGE.pack(0, index, _CLSACT_HANDLE, _CLSACT, 0))
        else:
            _request(inside, _DELQDISC, 0, _MESSAGE.pack(0, index, HANDLE, _ROOT, 0))
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENODEV, errno.EINVAL):
            raise
    if shaper.inward:
        rtnetlink.delete_link(inside, beside(shaper.interface))


def beside(interface: str) -> str:
    """The ifb link that what comes in at an interface passes."""
    return f"{interface[:12]}{_BESIDE}"


def is_beside(name: str) -> bool:
    return name.endswith(_BESIDE)


def lost(kind: int, body: bytes) -> int:
    """The index of the interface where, by this event, a bucket may be gone, or another one, or the way into one; or
    0."""
    if kind not in (_NEWQDISC, _DELQDISC, _DELTFILTER):
        return 0
    _, index, handle, parent, _ = _MESSAGE.unpack_from(body)
    if kind == _DELTFILTER:
        return int(index) if parent == _INGRESS else 0
    into = kind == _DELQDISC and handle == _CLSACT_HANDLE
    return int(index) if handle == HANDLE or into else 0


def shapers(
    inside: NetlinkSocket, namespace: str, links: list[rtnetlink.Link], mine: Collection[int]
) -> Iterator[Shaper]:
    """Those on `mine`, the indexes of our interfaces among the namespace's `links`."""
    buckets = {found.index: found for found in _buckets(inside)}
    names = {item.interface.name: item.interface.index for item in links}
    for item in links:
        name, index = item.interface.name, item.interface.index
        if index not in mine:
            continue
        if index in buckets:
            yield Shaper(namespace, name, False, buckets[index].rate, buckets[index].burst)
        bucket = buckets.get(names.get(beside(name), 0))
        if bucket and _redirected(inside, index) == bucket.index:
            yield Shaper(namespace, name, True, bucket.rate, bucket.burst)


@dataclasses.dataclass(frozen=True, slots=True)
class _Bucket:
    index: int
    rate: int
    burst: int


def _buckets(inside: NetlinkSocket) -> Iterator[_Bucket]:
    for body in inside.dump(_GETQDISC, _MESSAGE.pack(0, 0, 0, 0, 0)):
        _, index, handle, parent, _ = _MESSAGE.unpack_from(body)
        found = attributes(body, _MESSAGE.size)
        if (handle, parent) != (HANDLE, _ROOT) or string(found.get(_KIND, b"")) != "tbf":
            continue
        options = attributes(found[_OPTIONS])
        parameters = options[_TBF_PARMS]
        rate = number(options[_TBF_RATE64]) if _TBF_RATE64 in options else _RATE.unpack_from(parameters)[5]
        _, ticks, _ = struct.unpack_from("=III", parameters, 2 * _RATE.size)
        yield _Bucket(index, rate * 8, round(ticks * _TICK * rate / 1e9))


def _redirected(inside: NetlinkSocket, index: int) -> int:
    """The index of the link that everything is sent over that comes in at an interface; 0 is none."""
    try:
        filters = inside.dump(_GETTFILTER, _MESSAGE.pack(0, index, 0, _INGRESS, 0))
    except OSError:
        return 0
    for body in filters:
        options = attributes(attributes(body, _MESSAGE.size).get(_OPTIONS, b""))
        for action in attributes(options.get(_U32_ACTION, b"")).values():
            parameters = attributes(attributes(action).get(_OPTIONS, b"")).get(_MIRRED_PARMS, b"")
            if len(parameters) >= _MIRRED.size:
                return int(_MIRRED.unpack_from(parameters)[6])
    return 0


def _set_inward(inside: NetlinkSocket, shaper: Shaper) -> None:
    name, index = beside(shaper.interface), _index(inside, shaper.interface)
    try:
        over = _index(inside, name)
        whole = _redirected(inside, index) == over
    except OSError as error:
        if error.errno != errno.ENODEV:
            raise
        whole = False
    if whole:
        _set_bucket(inside, over, shaper)
        return
    delete_shaper(inside, shaper)  # half of one, of a daemon that was killed
    rtnetlink.create_ifb(inside, name)
    try:
        over = _index(inside, name)
        _set_bucket(inside, over, shaper)
        _request(
            inside,
            _NEWQDISC,
            CREATE | EXCL,
            _MESSAGE.pack(0, index, _CLSACT_HANDLE, _CLSACT, 0) + text(_KIND, "clsact"),
        )
        mirred = attribute(_MIRRED_PARMS, _MIRRED.pack(0, 0, _STOLEN, 0, 0, _REDIRECT, over))
        action = nested(1, text(_KIND, "mirred"), nested(_OPTIONS, mirred))
        selected = nested(_OPTIONS, attribute(_U32_SELECTOR, _EVERYTHING), nested(_U32_ACTION, action))
        body = _MESSAGE.pack(0, index, 0, _INGRESS, _ALL_PROTOCOLS) + text(_KIND, "u32") + selected
        _request(inside, _NEWTFILTER, CREATE | EXCL, body)
    except OSError:
        delete_shaper(inside, shaper)
        raise


def _set_bucket(inside: NetlinkSocket, index: int, shaper: Shaper) -> None:
    rate = shaper.rate // 8
    told = _RATE.pack(0, _ETHERNET, 0, 0, 0, min(rate, 0xFFFFFFFF))
    queue = shaper.burst + max(int(rate * _WAIT), _LEAST_QUEUE)
    ticks = shaper.burst * 1_000_000_000 // rate // _TICK
    parameters = told + bytes(_RATE.size) + struct.pack("=III", min(queue, 0xFFFFFFFF), min(ticks, 0xFFFFFFFF), 0)
    options = attribute(_TBF_PARMS, parameters) + u32(_TBF_BURST, shaper.burst)
    if rate > 0xFFFFFFFF:
        options += u64(_TBF_RATE64, rate)
    body = _MESSAGE.pack(0, index, HANDLE, _ROOT, 0) + text(_KIND, "tbf") + nested(_OPTIONS, options)
    _request(inside, _NEWQDISC, CREATE | REPLACE, body)


def _index(inside: NetlinkSocket, name: str) -> int:
    return rtnetlink.link(inside, name).interface.index


def _request(inside: NetlinkSocket, kind: int, flags: int, body: bytes) -> None:
    inside.request([(kind, ACK | flags, body)])
