"""A mesh of real hosts, from the first one on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.cluster.place import until
from tests.cluster.probes import carries
from tests.mesh.place import mesh


def test_a_token_and_one_address_are_enough(new_folder: Callable[[], Path]) -> None:
    with mesh(new_folder(), 2) as hosts:
        hosts.begin()
        hosts.join(2)
        one, two = hosts
        one.import_images()
        two.import_images()
        made = one.out("network", "create", "-d", "overlay", "city")
        until(lambda: two.request("GET", f"/networks/{made}")[0] == 200, "the network is there")
        one.run("--name", "server", "--net", "city", "plain", "sleep", "1000")
        two.run("--name", "client", "--net", "city", "plain", "sleep", "1000")
        until(
            lambda: carries(two.sandbox("client"), one.sandbox("server"), one.address("server"), "tcp", 100, within=1),
            "they reach each other",
        )
