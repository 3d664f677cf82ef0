"""The daemon: its verbs in five groups, and the loop that keeps the kernel as the records say."""

from __future__ import annotations

from linkspan.daemon.containers import Containers
from linkspan.daemon.images import Images
from linkspan.daemon.networks import Networks
from linkspan.daemon.system import System
from linkspan.daemon.volumes import Volumes


class Daemon:
    containers: Containers
    networks: Networks
    images: Images
    volumes: Volumes
    system: System
