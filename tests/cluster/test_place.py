"""The place itself: what is done to hosts is what happens to them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.cluster.place import ADDRESSES, OUTSIDE, cluster, until
from tests.product.network import silent, who_server


def test_who_hears_whom(new_folder: Callable[[], Path]) -> None:
    with cluster(new_folder()) as hosts:

        def hears(one: str, other: str) -> bool:
            return not silent(hosts[one].here, ADDRESSES[other], 9000)

        with (
            who_server(hosts["h1"].here, ADDRESSES["h1"], 9000),
            who_server(hosts["h2"].here, ADDRESSES["h2"], 9000),
            who_server(hosts["h3"].here, ADDRESSES["h3"], 9000),
            who_server(hosts.there, OUTSIDE, 9000),
        ):
            assert hears("h1", "h2") and hears("h2", "h3")
            hosts.part(("h1", "h2"))
            assert not hears("h1", "h2") and not hears("h2", "h1") and hears("h1", "h3") and hears("h3", "h2")
            hosts.cut_off("h3")
            assert not hears("h1", "h3") and not hears("h3", "h2") and hears("h1", "h2")
            assert not silent(hosts["h3"].here, OUTSIDE, 9000)
            hosts.part()
            assert hears("h1", "h3")
            hosts.cable("h2", plugged=False)
            assert not hears("h1", "h2")
            hosts.cable("h2", plugged=True)
            until(lambda: hears("h1", "h2"), "h2 is plugged in again")


def test_etcd_survives_one_of_three(new_folder: Callable[[], Path]) -> None:
    with cluster(new_folder()) as hosts:
        hosts.etcd.start()
        hosts.etcd.ctl("put", "/one", "1")
        hosts.kill_host("h2")
        assert hosts.etcd.ctl("get", "/one").split() == ["/one", "1"]
