"""The program ends and comes back, things are taken away from it, leases come and go: packets go on."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from tests.flannel.field import NETWORK, OUTSIDE, Field, echoes, tcp, udp, until
from tests.hosts import socket_in


@pytest.mark.parametrize("backend", ["vxlan", "host-gw", "udp"])
def test_it_dies_and_packets_go_on(field: Field, backend: str) -> None:
    field.configure({"Type": backend})
    field.start()
    one, other = field["h1"], field["h2"]
    subnet, value = one.subnet, field.value(one.subnet)
    with echoes(other.pod_space, other.pod):
        assert udp(one.pod_space, other.pod) == one.pod
        for node in (one, other):
            node.end(signal.SIGKILL)
        assert udp(one.pod_space, other.pod) == one.pod
        links = {item["ifname"]: item["ifindex"] for item in one.ip("link")}
        for node in (one, other):
            node.start(*node.flags)
        assert (one.subnet, field.value(one.subnet)) == (subnet, value)
        assert {item["ifname"]: item["ifindex"] for item in one.ip("link")} == links
        field.settle()
        assert tcp(one.pod_space, other.pod, 50000)


@pytest.mark.parametrize("backend", ["vxlan", "host-gw"])
def test_what_is_taken_away_is_put_back(field: Field, backend: str) -> None:
    field.configure({"Type": backend})
    field.start("--ip-masq")
    one, other = field["h1"], field["h2"]
    with echoes(other.pod_space, other.pod):

        def works() -> bool:
            return udp(one.pod_space, other.pod, tries=1) == one.pod

        assert works()
        one.host.run(["ip", "route", "del", other.subnet])
        until(works, "the route is back", 3)
        one.host.run(["ip", "link", "set", "eth0", "down"])
        one.host.run(["ip", "link", "set", "eth0", "up"])
        one.host.run(["ip", "route", "add", "default", "via", OUTSIDE])
        until(works, "the interface to the others came back", 3)
        if backend == "vxlan":
            one.host.run(["ip", "link", "del", "flannel.1"])
            until(works, "the device is back", 3)
            one.host.run(["ip", "neigh", "flush", "dev", "flannel.1", "nud", "permanent"])
            until(works, "the neighbours are back", 3)
        one.host.run(["nft", "flush", "ruleset"])
        until(works, "the firewall is back", 3)


def test_the_device_of_the_udp_backend_comes_back(field: Field) -> None:
    field.configure({"Type": "udp"})
    field.start()
    one, other = field["h1"], field["h2"]
    with echoes(other.pod_space, other.pod):
        assert udp(one.pod_space, other.pod) == one.pod
        one.host.run(["ip", "link", "del", "flannel0"])
        until(lambda: udp(one.pod_space, other.pod, tries=1) == one.pod, "the tunnel is back", 5)


def test_a_tunnel_says_that_nobody_has_a_subnet(field: Field) -> None:
    field.configure({"Type": "udp"})
    field.start()
    one = field["h1"]
    used = {node.subnet for node in field}
    free = next(f"10.5.{third}.9" for third in range(1, 9) if f"10.5.{third}.0/24" not in used)
    with socket_in(one.pod_space) as client, pytest.raises(OSError, match="unreachable"):
        client.connect((free, 80))


def test_a_flanneld_s_lease_comes_and_goes(field: Field) -> None:
    """As flanneld would write it, with a lease of etcd's that ends."""
    field.configure({"Type": "vxlan"})
    field.start(pods=False)
    one = field["h1"]
    value = (
        '{"PublicIP":"10.211.55.77","PublicIPv6":null,"BackendType":"vxlan",'
        '"BackendData":{"VNI":1,"VtepMAC":"c6:d2:32:6f:8f:44"}}'
    )
    lease = field.etcd.ctl("lease", "grant", "86400").split()[1]
    field.etcd.ctl("put", f"--lease={lease}", f"{field.prefix}/subnets/10.5.200.0-24", value)
    until(lambda: "10.5.200.0/24" in one.routes(), "the route to it")
    rows = one.host.run(["bridge", "fdb", "show", "dev", "flannel.1"]).stdout
    assert "c6:d2:32:6f:8f:44 dst 10.211.55.77 self permanent" in rows
    # It comes back with another device, as after a reboot.
    field.etcd.ctl("put", f"--lease={lease}", f"{field.prefix}/subnets/10.5.200.0-24", value.replace("8f:44", "8f:45"))

    def rewritten() -> bool:
        rows = one.host.run(["bridge", "fdb", "show", "dev", "flannel.1"]).stdout
        return "8f:45 dst 10.211.55.77" in rows and "8f:44" not in rows

    until(rewritten, "the new device's address")
    field.etcd.ctl("lease", "revoke", lease)
    until(lambda: "10.5.200.0/24" not in one.routes(), "the route is gone")
    assert "10.211.55.77" not in one.host.run(["bridge", "fdb", "show", "dev", "flannel.1"]).stdout
    assert "10.5.200.0" not in one.host.run(["ip", "neigh", "show", "dev", "flannel.1"]).stdout


def test_leases_hold_for_a_day_and_those_that_are_lost_come_back(field: Field) -> None:
    field.configure({"Type": "host-gw"})
    field.start(pods=False)
    one, other = field["h1"], field["h2"]
    key = f"{field.prefix}/subnets/{one.subnet.replace('/', '-')}"
    held = json.loads(field.etcd.ctl("get", key, "-w", "json"))["kvs"][0]
    remaining = json.loads(field.etcd.ctl("lease", "timetolive", f"{held['lease']:x}", "-w", "json"))
    assert remaining["granted-ttl"] == 86400 and remaining["ttl"] > 86300
    subnet = one.subnet
    field.etcd.ctl("del", key)
    until(lambda: field.value(subnet), "the lease is taken again")
    assert one.subnet == subnet
    revision = json.loads(field.etcd.ctl("get", key, "-w", "json"))["header"]["revision"]
    field.etcd.ctl("compact", str(revision))
    field.etcd.ctl(
        "put", f"{field.prefix}/subnets/10.5.201.0-24", field.value(subnet).replace(one.address, "10.211.55.8")
    )
    until(lambda: "10.5.201.0/24" in other.routes(), "a lease that came after the compaction")
    field.etcd.ctl("del", f"{field.prefix}/subnets/10.5.201.0-24")
    until(lambda: "10.5.201.0/24" not in other.routes(), "and went")


def test_etcd_away_and_back(field: Field) -> None:
    field.configure({"Type": "vxlan"})
    field.start()
    one, other = field["h1"], field["h2"]
    field.etcd.stop()
    with echoes(other.pod_space, other.pod):
        assert tcp(one.pod_space, other.pod, 50000)
        one.end(signal.SIGKILL)
        assert tcp(one.pod_space, other.pod, 50000)
        field.etcd.start()
        one.start(*one.flags)
        theirs = (
            '{"PublicIP":"10.211.55.8","PublicIPv6":null,"BackendType":"vxlan",'
            '"BackendData":{"VNI":1,"VtepMAC":"02:00:00:00:00:08"}}'
        )
        field.etcd.ctl("put", f"{field.prefix}/subnets/10.5.202.0-24", theirs)
        until(lambda: "10.5.202.0/24" in other.routes(), "what came after etcd was away", 15)
        field.etcd.ctl("del", f"{field.prefix}/subnets/10.5.202.0-24")
        assert tcp(one.pod_space, other.pod, 50000)


def test_a_stolen_subnet_is_given_up(field: Field) -> None:
    """Also where a bridge, a Docker's that has not been started anew, still has it."""
    field.configure({"Type": "host-gw"})
    field.start()
    one, other = field["h1"], field["h2"]
    lost = one.subnet
    key = f"{field.prefix}/subnets/{lost.replace('/', '-')}"
    field.etcd.ctl("put", key, field.value(lost).replace(one.address, "10.211.55.8"))
    until(lambda: one.subnet != lost, "another subnet")
    way = ("route", "show", lost, "via", "10.211.55.8")
    until(lambda: one.ip(*way), "the route to who has it now")
    until(lambda: one.subnet in other.routes(), "the others hear of it")
    assert other.ip(*way)
    said = one.log.read_text()
    assert f"the lease {lost} of this host is lost: 10.211.55.8 has it" in said
    assert "Docker has to be started anew" in said
    field.etcd.ctl("del", key)
    until(lambda: not one.ip(*way), "the route is gone")


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (("--iface", "eth7"), "there is no interface eth7 on this host"),
        (("--kube-subnet-mgr",), "leases are kept in etcd only"),
        (("--etcd-endpoints", "ftp://h1"), "invalid value for --etcd-endpoints"),
        (("--no-such-flag",), "flag provided but not defined: -no-such-flag"),
        (("--public-ip", "300.1.1.1"), "is no IPv4 address"),
        (("--subnet-lease-renew-margin", "0"), "1 to 1439 minutes"),
        (("stray",), "takes no arguments: stray"),
        (("--etcd-endpoints", "https://h1:2379"), "https endpoints need --etcd-cafile"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(field: Field, flags: tuple[str, ...], says: str) -> None:
    done = field["h1"].run(*flags)
    assert done.returncode == 1 and says in done.stderr and "Traceback" not in done.stderr
    assert field["h1"].ip("link") and not field["h1"].subnet_file.exists()


def test_bad_configurations_are_waited_out(field: Field) -> None:
    field.configure({"Type": "vxlan"})
    field.etcd.ctl("put", f"{field.prefix}/config", '{"Network": "10.5.0.0/29"}')
    one = field["h1"]
    one.flags = ("--etcd-prefix", field.prefix)
    log = one.log.stat().st_size if one.log.exists() else 0
    process = one.host.start(one.command(*one.flags), log=one.log, env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"})
    one._process = process
    until(lambda: b"too small" in one.log.read_bytes()[log:], "it says what is wrong")
    field.etcd.ctl("put", f"{field.prefix}/config", f'{{"Network": "{NETWORK}", "Backend": {{"Type": "host-gw"}}}}')
    until(lambda: b"flannel is ready" in one.log.read_bytes()[log:], "it goes on", 15)


def test_one_at_a_time(field: Field) -> None:
    field.configure({"Type": "host-gw"})
    one = field["h1"]
    one.start("--etcd-prefix", field.prefix)
    done = one.run("--etcd-prefix", field.prefix)
    assert done.returncode == 1 and "another" in done.stderr.lower(), done.stderr


def test_its_files_are_those_of_flanneld(field: Field) -> None:
    field.configure({"Type": "vxlan"})
    one = field["h1"]
    one.start("--etcd-prefix", field.prefix, "-ip-masq=true", "-iface=eth0")
    third = one.subnet.split(".")[2]
    assert one.subnet_file.read_text() == (
        f"FLANNEL_NETWORK=10.5.0.0/16\nFLANNEL_SUBNET=10.5.{third}.1/24\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n"
    )
    assert [path.name for path in Path(one.folder).iterdir() if "subnet" in path.name] == ["subnet.env"]
