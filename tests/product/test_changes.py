"""What changes under a running container, or between two runs of the daemon: networks, flags, reboots."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable

from tests.product.network import answers
from tests.product.place import HOST, OUTSIDE, Place
from tests.product.test_configuration import ground, start

__all__ = ["ground", "start"]  # fixtures

Start = Callable[..., Place]


def until_running(made: Place, name: str) -> None:
    deadline = time.monotonic() + 10
    while not made.inspect(name)["State"]["Running"]:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_the_way_out_and_the_ports_move_with_the_networks(start: Start) -> None:
    made = start()
    made.docker("network", "create", "rear")
    made.run("--name", "web", "-p", "8080:80", "web")
    made.docker("network", "connect", "rear", "web")
    assert "default via 172.17.0.1 dev eth0" in made.out("exec", "web", "ip", "route")
    made.docker("network", "disconnect", "bridge", "web")
    assert "dev eth1" in made.out("exec", "web", "ip", "route").splitlines()[0]
    assert answers(made.there, HOST, 8080) == OUTSIDE
    made.docker("network", "connect", "bridge", "web")
    assert "default via 172.17.0.1" in made.out("exec", "web", "ip", "route")
    assert answers(made.there, HOST, 8080) == OUTSIDE


def test_flags_that_change_with_a_reboot_and_a_bridge_that_goes_and_comes(start: Start) -> None:
    made = start()
    made.run("--name", "web", "--restart", "always", "-p", "8080:80", "web")
    id_ = made.inspect("bridge")["Id"]
    made.restart(signal.SIGTERM, "-b", "none")
    assert "(web): stop them and restart linkspand" in made.log.read_text()
    assert answers(made.there, HOST, 8080) == OUTSIDE
    pid = made.inspect("web")["State"]["Pid"]
    made.end(signal.SIGKILL)
    made.host.run(["kill", "-9", str(pid)])  # the machine goes down
    made.start("--bip", "10.9.0.1/16")
    until_running(made, "web")
    assert made.inspect("web")["NetworkSettings"]["Networks"]["bridge"]["IPAddress"].startswith("10.9.")
    made.docker("stop", "-t", "0", "web")
    made.restart(signal.SIGTERM, "-b", "none")
    until_running(made, "web")
    assert not [link for link in made.ip("link") if link["ifname"] == "docker0"]
    assert "eth0" not in made.out("exec", "web", "ip", "-o", "link")
    assert "eth0" not in made.docker("run", "--rm", "-p", "80:80", "plain", "ip", "-o", "link").out
    made.docker("stop", "-t", "0", "web")
    made.restart(signal.SIGTERM, "--mtu", "1400")
    until_running(made, "web")
    assert made.inspect("bridge")["Id"] == id_
    assert answers(made.there, HOST, 8080) == OUTSIDE
