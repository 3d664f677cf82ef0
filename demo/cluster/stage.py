"""Three hosts with linkspand and etcd, and a machine outside that runs none of it."""

from collections.abc import Mapping
from pathlib import Path

from demo.client import Client
from demo.console import Console
from demo.daemons import linkspand
from demo.etcd import Members, place
from demo.stage import Stage

ADDRESSES: Mapping[str, str] = {"h1": "10.211.55.4", "h2": "10.211.55.5", "h3": "10.211.55.6"}


class ClusterStage(Stage):
    """A stage whose hosts have one etcd, with a member in each."""

    def __init__(self, folder: Path, client: Client, images: Path, console: Console) -> None:
        super().__init__(folder, client, linkspand(), images, console, ADDRESSES)
        self.etcd = Members([place(self.seats[name].host, at) for name, at in ADDRESSES.items()], folder / "etcd")

    def start(self) -> None:
        """etcd, and then a daemon on each host."""
        self.etcd.start()
        for name in self.seats:
            self.start_daemon("--cluster", self.etcd.url, where=name)

    def end(self) -> None:
        self.etcd.end()
        super().end()
