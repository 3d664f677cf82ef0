"""A cluster whose store is reached with certificates only."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from demo.etcd import Members, make_certificates, place

from tests.cluster.place import ADDRESSES, cluster, until

WIRE = ("-d", "macvlan", "-o", "parent=eth0", "--subnet", "10.211.55.0/24", "--scope", "global")


def test_who_has_the_certificate_is_a_member(new_folder: Callable[[], Path]) -> None:
    with cluster(new_folder()) as hosts:
        ours, others = (make_certificates(hosts.folder / name, [*ADDRESSES.values()]) for name in ("ours", "others"))
        hosts.etcd = Members([place(each.host, each.at) for each in hosts], hosts.folder / "etcd", ours)
        hosts.etcd.start()
        certificates = {"h1": ours, "h2": ours, "h3": others}
        hosts.each(
            lambda member: member.start(
                "--cluster", hosts.etcd.url, "--cluster-tls", certificates[member.name].for_clients
            )
        )
        assert hosts["h1"].out("network", "create", *WIRE, "wire")
        until(lambda: "wire" in hosts["h2"].out("network", "ls", "--filter", "scope=global"), "h2 knows the network")
        refused = hosts["h3"].docker("network", "create", *WIRE, "other", status=1)
        assert "its certificate is not trusted" in refused.err
        hosts["h3"].docker("network", "create", "local")  # what is its own goes on
        hosts["h2"].docker("network", "rm", "wire")
