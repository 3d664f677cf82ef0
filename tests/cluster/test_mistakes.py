"""What goes wrong when hosts are joined: said in one clear line, and nothing is changed."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from tests.cluster.place import Cluster, Member, until


@contextlib.contextmanager
def away(member: Member) -> Iterator[Callable[..., str]]:
    """While its daemon is away: what one says that does not start, with these flags instead of its own."""

    def refused(*flags: str) -> str:
        lines = member.refuses(*flags).splitlines()
        (said,) = [line for line in lines if line.startswith("linkspand: ")]
        return said

    member.end()
    try:
        yield refused
    finally:
        member.start(*member.flags)


def test_flags(hosts: Cluster) -> None:
    there = ("--cluster", "etcd://10.211.55.4")
    with away(hosts["h3"]) as refused:
        for flags, words in (
            (("--cluster", "http://h1:2379"), "it has to begin with etcd://"),
            (("--cluster", "etcd://h1:23790000"), "is no port"),
            (("--cluster-tls", "ca=/x"), "--cluster-tls is about a cluster: it needs --cluster"),
            (("--advertise", "eth0"), "--advertise is about a cluster: it needs --cluster"),
            ((*there, "--advertise", "eth9"), "there is no such interface on this host"),
            ((*there, "--advertise", "10.211.55.77"), "no interface of this host has this address"),
            ((*there, "--advertise", "lo"), "the interface has no address"),
            ((*there, "--cluster-tls", "ca=/nowhere.pem"), "/nowhere.pem"),
            ((*there, "--cluster-tls", "cert=/x,key=/y"), "ca=FILE is missing"),
        ):
            assert words in refused(*flags)


def test_an_address_that_another_host_advertises(hosts: Cluster) -> None:
    three = hosts["h3"]
    three.host.run(["ip", "address", "add", "10.211.55.5/32", "dev", "lo"])
    try:
        with away(three) as refused:
            said = refused("--cluster", hosts.etcd.url, "--advertise", "10.211.55.5")
    finally:
        three.host.run(["ip", "address", "del", "10.211.55.5/32", "dev", "lo"])
    assert "h2 of the cluster has the address 10.211.55.5 already" in said and "linkspan host rm" in said
    assert hosts["h1"].linkspan("host", "ls").out.count(" up ") == 3


def test_somebody_elses_keys(hosts: Cluster) -> None:
    flags = ("--cluster", f"{hosts.etcd.url}/theirs")
    try:
        with away(hosts["h3"]) as refused:
            hosts.etcd.ctl("put", "/theirs/flag", "1")
            assert "/theirs/ is not this linkspan's (there is /theirs/flag)" in refused(*flags)
            hosts.etcd.ctl("del", "/theirs/flag")
            hosts.etcd.ctl("put", "/theirs/v1/schema", "linkspan 99")
            assert "was written as 'linkspan 99'" in refused(*flags)
    finally:
        hosts.etcd.ctl("del", "--prefix", "/theirs")


def test_networks(hosts: Cluster) -> None:
    one = hosts["h1"]
    wire = ("-d", "macvlan", "--scope", "global", "-o", "parent=eth0")
    for arguments, words in (
        (("--scope", "global", "x"), "networks of the driver bridge are on one host"),
        (
            (*wire, "--subnet", "10.211.55.0/24", "--gateway", "10.1.1.1", "x"),
            "no matching subnet for gateway 10.1.1.1",
        ),
        (("--scope", "galaxy", "x"), "invalid scope"),
        (
            ("-d", "macvlan", "--scope", "global", "x"),
            "needs a parent (-o parent=…) that every host has: it names none",
        ),
        ((*wire[:-1], "parent=eth0.10", "x"), "that every host has: eth0.10 is none on this one"),
        ((*wire, "-o", "host_access=true", "x"), "host_access is for networks of one host"),
    ):
        assert words in one.docker("network", "create", *arguments, status=1).err
    hosts.network("macvlan", "wire", "--scope", "global", "-o", "parent=eth0", "--subnet", "10.77.0.0/24")
    grown = one.linkspan("network", "update", "wire", "--add-subnet", "10.78.0.0/24", status=1)
    assert "only labels and DNS servers can change in place" in grown.err
    one.linkspan("network", "update", "wire", "--label", "a=b")
    until(lambda: '"a": "b"' in hosts["h2"].out("network", "inspect", "wire"), "h2 knows the label")


def test_a_parent_that_is_not_there_on_another_host(hosts: Cluster) -> None:
    one, two = hosts["h1"], hosts["h2"]
    one.host.run(["ip", "link", "add", "wire0", "type", "bridge"])
    try:
        hosts.network("macvlan", "apart", "--scope", "global", "-o", "parent=wire0", "--subnet", "10.77.0.0/24")
        one.docker("run", "--rm", "--network", "apart", "plain", "true")
        said = two.docker("run", "--rm", "--network", "apart", "plain", "true", status=125).err
        assert "wire0" in said
        two.docker("run", "--rm", "plain", "true")
    finally:
        one.docker("network", "rm", "apart", status=None)
        one.host.run(["ip", "link", "del", "wire0"])


def test_a_network_of_ones_own_in_the_way(hosts: Cluster) -> None:
    three = hosts["h3"]
    three.docker("network", "create", "--subnet", "10.88.0.0/16", "own")
    hosts.network("macvlan", "late", "--scope", "global", "-o", "parent=eth0", "--subnet", "10.88.4.0/24")
    hosts["h1"].docker("run", "--rm", "--network", "late", "plain", "true")
    said = three.docker("run", "--rm", "--network", "late", "plain", "true", status=125).err
    assert "in which 10.88.0.0/16 of this host's own network own lies" in said
