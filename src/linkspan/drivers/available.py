"""The drivers that there are, by name."""

from __future__ import annotations

from collections.abc import Mapping

from linkspan.drivers.bridge import BridgeDriver
from linkspan.drivers.calico import CalicoDriver
from linkspan.drivers.contract import Driver
from linkspan.drivers.flannel import FlannelDriver
from linkspan.drivers.flat import FlatDriver
from linkspan.drivers.host import HostDriver
from linkspan.drivers.null import NullDriver
from linkspan.drivers.overlay import OverlayDriver
from linkspan.drivers.ovs import OvsDriver
from linkspan.drivers.sublink import IpvlanDriver, MacvlanDriver
from linkspan.drivers.weave import WeaveDriver

_ALL: tuple[Driver, ...] = (
    BridgeDriver(),
    HostDriver(),
    NullDriver(),
    MacvlanDriver(),
    IpvlanDriver(),
    OverlayDriver(),
    OvsDriver(),
    FlannelDriver(),
    FlatDriver(),
    CalicoDriver(),
    WeaveDriver(),
)
DRIVERS: Mapping[str, Driver] = {driver.name: driver for driver in _ALL}
