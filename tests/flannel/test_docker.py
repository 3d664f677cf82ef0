"""Debian's Docker on two hosts, configured from subnet.env: containers reach each other by their own addresses."""

from __future__ import annotations

import shutil

import pytest

from tests.flannel.field import OUTSIDE, Field, Node
from tests.product.network import who_server
from tests.product.others import THERE, Dockerd

pytestmark = pytest.mark.skipif(not THERE, reason="no dockerd unpacked: see setup/neighbours")


def docker_of(node: Node) -> Dockerd:
    """As flannel's mk-docker-opts.sh makes its flags of the file."""
    settings = node.settings
    flags = (f"--bip={settings['FLANNEL_SUBNET']}", f"--mtu={settings['FLANNEL_MTU']}")
    if settings["FLANNEL_IPMASQ"] == "true":
        flags = (*flags, "--ip-masq=false")  # flannel does it
    return Dockerd(node.host, node.folder / "dockerd", *flags)


@pytest.mark.parametrize("backend", ["vxlan", "host-gw"])
def test_docker_s_containers_on_two_hosts(field: Field, backend: str) -> None:
    field.configure({"Type": backend})
    field.start("--ip-masq", pods=False)
    pair = field["h1"], field["h2"]
    dockers = [docker_of(node) for node in pair]
    try:
        addresses = []
        for docker in dockers:
            docker.start()
            docker.import_web()
            docker("run", "-d", "--name", "web", "web")
            addresses.append(docker("inspect", "-f", "{{.NetworkSettings.IPAddress}}", "web"))
        assert all(address.startswith("10.5.") for address in addresses)
        for docker, own, other in zip(dockers, addresses, reversed(addresses), strict=True):
            seen = docker("exec", "web", "timeout", "5", "wget", "-qO-", f"http://{other}/cgi-bin/who")
            assert seen == own
        assert dockers[0]("exec", "web", "cat", "/sys/class/net/eth0/mtu") == ("1450" if backend == "vxlan" else "1500")
        with who_server(field.there, OUTSIDE, 8000):
            seen = dockers[0]("exec", "web", "timeout", "5", "wget", "-qO-", f"http://{OUTSIDE}:8000/")
        assert seen == pair[0].address
    finally:
        for node, docker in zip(pair, dockers, strict=True):
            docker.clear()
            docker.end()
            node.host.run(["ip", "link", "del", "docker0"])
            shutil.rmtree(node.folder / "dockerd")
            node.host.run(["iptables", "-P", "FORWARD", "ACCEPT"])
            for table in ("filter", "nat"):
                node.host.run(["iptables", "-t", table, "-F"])
