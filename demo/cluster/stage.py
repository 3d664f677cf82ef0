"""Three hosts with linkspand and etcd, and a machine outside that runs none of it."""

from collections.abc import Mapping
from pathlib import Path

from demo.client import Client
from demo.console import Console
from demo.daemons import linkspand
from demo.etcd import Members, place
from demo.ovs import THERE, OpenVSwitch
from demo.stage import Stage

ADDRESSES: Mapping[str, str] = {"h1": "10.211.55.4", "h2": "10.211.55.5", "h3": "10.211.55.6"}


class ClusterStage(Stage):
    """A stage whose hosts have one etcd, with a member in each, and an Open vSwitch each, where it is installed."""

    def __init__(self, folder: Path, client: Client, images: Path, console: Console) -> None:
        super().__init__(folder, client, linkspand(), images, console, ADDRESSES)
        self.etcd = Members([place(self.seats[name].host, at) for name, at in ADDRESSES.items()], folder / "etcd")

        self._switches: list[OpenVSwitch] = []

    def start(self) -> None:
        """etcd and the switches, and then a daemon on each host."""
        self.etcd.start()
        for seat in self.seats.values() if THERE else ():
            self._switches.append(OpenVSwitch(f"/proc/{seat.host.pid}/ns/net", seat.switch))
        for name in self.seats:
            self.start_daemon("--cluster", self.etcd.url, where=name)

    def end(self) -> None:
        for switch in self._switches:
            switch.close()
        self.etcd.end()
        super().end()
