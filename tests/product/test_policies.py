"""Policies as a user meets them: who is cut off, who is told why, and when it holds."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from linkspan.state.guard import TABLE
from tests.hosts import socket_in
from tests.product.network import Watch, answers, ask, held, silent
from tests.product.place import HOST, OUTSIDE, Place, place
from tests.product.traces import settles, traces

DB = """\
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata: {name: db, namespace: shop}
spec:
  selector: app == "db"
  ingress:
  - {action: Allow, protocol: TCP, source: {selector: app == "web"}, destination: {ports: [80]}}
"""


@pytest.fixture(scope="module")
def ground(new_folder: Callable[[], Path]) -> Iterator[Place]:
    with place(new_folder()) as made:
        made.start()
        made.import_images()
        yield made


@pytest.fixture
def shop(ground: Place) -> Iterator[Place]:
    """A database that web and a stranger reach."""
    before = traces(ground)
    ground.docker("network", "create", "shop")
    ground.run("--name", "db", "--net", "shop", "--label", "app=db", "-p", "8080:80", "web")
    for name in ("web", "other"):
        ground.run("--name", name, "--net", "shop", "--label", f"app={name}", "plain", "sleep", "600")
    for name in ("web", "other"):
        answers(ground.sandbox(name), address(ground, "db"), 80)
    yield ground
    ground.clear()
    settles(ground, before)
    assert "Traceback" not in ground.log.read_text(), ground.log.read_text()[-4000:]


def address(engine: Place, name: str) -> str:
    return str(engine.inspect(name)["NetworkSettings"]["Networks"]["shop"]["IPAddress"])


def apply(engine: Place, text: str) -> None:
    engine.linkspan("policy", "apply", "-f", "-", stdin=text)


def reaches(engine: Place, name: str, port: int = 80) -> bool:
    return not silent(engine.sandbox(name), address(engine, "db"), port)


def test_one_client_is_cut_off_and_told_why(shop: Place) -> None:
    assert not has_table(shop, "db")
    apply(shop, DB)
    assert (reaches(shop, "web"), reaches(shop, "other")) == (True, False)
    assert not has_table(shop, "web")  # no policy is about it
    allowed = shop.linkspan("policy", "check", "web", "db:80")
    own, db = address(shop, "web"), address(shop, "db")
    assert allowed.out == (
        f"allow: {own} to {db} over shop\n"
        "  egress: allow: no policy is about its egress\n"
        "  ingress: allow: NetworkPolicy shop/db, ingress rule 1 (tier default)\n"
    )
    denied = shop.linkspan("policy", "check", "other", "db:80", status=3)
    assert "ingress: deny: the end of tier default: no rule of NetworkPolicy shop/db matches" in denied.out
    assert shop.linkspan("policy", "check", "-p", "icmp", "web", "db", status=3).out.startswith("deny: ")
    assert shop.linkspan("policy", "check", OUTSIDE, "db:80", status=3).out.startswith(f"deny: {OUTSIDE} to {db}\n")
    shop.linkspan("policy", "delete", "np", "shop/db")
    assert reaches(shop, "other")
    assert not has_table(shop, "db")


def has_table(engine: Place, name: str) -> bool:
    return TABLE in nft(engine.sandbox(name), "list", "tables").stdout


def nft(path: str, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["nsenter", f"--net={path}", "nft", *words], capture_output=True, text=True, timeout=10)


def test_what_is_asked_wrongly(shop: Place) -> None:
    for words, said in {
        ("web", "nobody:80"): "No such container: nobody",
        ("web", "db"): "a port is needed",
        ("-p", "icmp", "web", "fd00::1"): "have no addresses of one IP version",
        ("-p", "gre", "web", "db:80"): "protocol 'gre': one of tcp, udp, sctp, icmp",
        ("web", "db:99999"): "not a port",
        ("web", "host:nowhere:80"): "No such host: nowhere",
    }.items():
        done = shop.linkspan("policy", "check", *words, status=None)
        assert done.status not in (0, 3), (words, done)
        assert said in done.err, (words, done)


HOSTS = """\
---
apiVersion: projectcalico.org/v3
kind: HostEndpoint
metadata: {{name: out, labels: {{side: out}}}}
spec: {{node: {name}, interfaceName: eth0}}
---
apiVersion: projectcalico.org/v3
kind: HostEndpoint
metadata: {{name: shop, labels: {{side: shop}}}}
spec: {{node: {name}, interfaceName: {bridge}}}
---
apiVersion: projectcalico.org/v3
kind: GlobalNetworkPolicy
metadata: {{name: hosts}}
spec:
  selector: has(side)
  ingress:
  - {{action: Allow, protocol: TCP, source: {{nets: [{outside}/32]}}, destination: {{ports: [8000]}}}}
  - {{action: Allow, protocol: TCP, source: {{selector: app == "web"}}, destination: {{ports: [8001]}}}}
  egress:
  - {{action: Allow, protocol: TCP, destination: {{nets: [{outside}/32], ports: [9000]}}}}
  - {{action: Allow, protocol: TCP, destination: {{selector: app == "db" || app == "web", ports: [80, 81]}}}}
"""


def connects(space: str, address: str, port: int) -> bool:
    with socket_in(space) as client:
        client.settimeout(0.3)
        return client.connect_ex((address, port)) == 0


def test_what_is_said_of_a_host_is_what_packets_meet(shop: Place) -> None:
    name, network = shop.out("info", "--format", "{{.Name}}"), shop.inspect("db")["NetworkSettings"]["Networks"]["shop"]
    gateway, host, web = network["Gateway"], f"host:{name}", shop.sandbox("web")
    try:
        apply(shop, DB + HOSTS.format(name=name, bridge=f"br-{network['NetworkID'][:12]}", outside=OUTSIDE))
        with contextlib.ExitStack() as ports:
            for port in (22, 8000, 8001):
                ports.enter_context(held(shop.here, "0.0.0.0", port))
            for space, port in ((shop.there, 9000), (shop.there, 9001), (web, 81), (web, 82)):
                ports.enter_context(held(space, "0.0.0.0", port))
            seen = {}
            for space, one, to, other, port in (
                *((shop.there, OUTSIDE, HOST, host, port) for port in (22, 8000, 8001)),
                *((shop.here, host, OUTSIDE, OUTSIDE, port) for port in (9000, 9001)),
                *((web, "web", gateway, host, port) for port in (8000, 8001)),
                (shop.sandbox("other"), "other", gateway, host, 8001),
                *((shop.here, host, address(shop, "web"), "web", port) for port in (81, 82)),
                (shop.here, host, address(shop, "db"), "db", 80),
            ):
                seen[one, other, port] = connects(space, to, port)
                for asked in {other, to}:
                    done = shop.linkspan("policy", "check", one, f"{asked}:{port}", status=None)
                    assert done.status == (0 if seen[one, other, port] else 3), (done, seen)
        assert list(seen.values()) == [True, True, False, True, False, False, True, False, True, False, False]
        said = shop.linkspan("policy", "check", OUTSIDE, f"{host}:8001", status=3).out
        assert f"  ingress at {name} eth0: deny: the end of tier default: no rule of GlobalNetworkPolicy hosts" in said
        said = shop.linkspan("policy", "check", f"{host}/eth0", f"{host}:22").out
        assert "loopback is not judged" in said
        said = shop.linkspan("policy", "check", OUTSIDE, f"{host}:8080", status=1).err
        assert f"port 8080 of host {name} is published: ask for db:80" in said
    finally:
        for kind, which in (("hep", "out"), ("hep", "shop"), ("gnp", "hosts")):
            shop.linkspan("policy", "delete", kind, which, status=None)


@pytest.fixture
def kernel_log() -> Iterator[Callable[[], list[str]]]:
    """The kernel's log from now on, with what happens in other network namespaces."""
    switch, device = Path("/proc/sys/net/netfilter/nf_log_all_netns"), Path("/dev/kmsg")
    try:
        before = switch.read_text()
        log = os.open(device, os.O_RDONLY | os.O_NONBLOCK)
        switch.write_text("1")
    except OSError as error:
        pytest.skip(f"the kernel's log cannot be read here: {error}")
    os.lseek(log, 0, os.SEEK_END)

    def lines() -> list[str]:
        found = []
        while True:
            try:
                found.append(os.read(log, 8192).decode(errors="replace"))
            except BrokenPipeError:  # others have written so much meanwhile that some is lost
                continue
            except BlockingIOError:
                return found

    try:
        yield lines
    finally:
        switch.write_text(before)
        os.close(log)


def test_what_is_logged_is_in_the_kernels_log(shop: Place, kernel_log: Callable[[], list[str]]) -> None:
    logging = DB.replace(
        "  ingress:\n", "  ingress:\n  - {action: Log, protocol: TCP, destination: {ports: ['80:81']}}\n"
    )
    done = shop.linkspan("policy", "apply", "-f", "-", stdin=logging)
    # Of the tests' daemons, which are not in the machine's own namespace, nothing is shown by itself.
    assert "WARNING: NetworkPolicy shop/db has rules with Log: linkspand is itself in a network namespace" in done.err
    assert "policies have rules with Log: linkspand is itself" in shop.log.read_text()
    own, db = address(shop, "other"), address(shop, "db")
    assert (reaches(shop, "other"), reaches(shop, "web")) == (False, True)
    said, *_ = (line for line in kernel_log() if f"SRC={own} DST={db}" in line and "SYN" in line and "DPT=80" in line)
    assert ";linkspan ingress NetworkPolicy shop/db IN=eth0 " in said
    denied = shop.linkspan("policy", "check", "other", "db:80", status=3).out
    assert "    logged by NetworkPolicy shop/db, ingress rule 1\nNote: linkspand is itself in a network" in denied
    shop.linkspan("policy", "apply", "-f", "-", stdin=DB)
    assert "Note:" not in shop.linkspan("policy", "check", "other", "db:80", status=3).out


def test_it_holds_from_the_first_packet_and_while_there_is_no_daemon(shop: Place) -> None:
    apply(shop, DB.replace("ingress:\n", "types: [Ingress, Egress]\n  ingress:\n").replace('app == "db"', "all()"))
    # The program's first packet is judged as any other.
    ask_once = f"timeout 1 wget -qO- http://{address(shop, 'db')}/cgi-bin/who; exit $?"
    done = shop.docker("run", "--rm", "--net", "shop", "plain", "sh", "-c", ask_once, status=None)
    assert done.status
    apply(shop, DB)
    web, other, db, own = shop.sandbox("web"), shop.sandbox("other"), shop.sandbox("db"), address(shop, "db")
    shop.end(signal.SIGKILL)
    assert not silent(web, own, 80)
    assert silent(other, own, 80)
    nft(db, "flush", "ruleset")  # with no daemon to own the table, who may administrate the network can do this
    shop.start()
    assert (reaches(shop, "web"), reaches(shop, "other")) == (True, False)
    apply(shop, DB.replace('app == "web"', 'app == "other"'))
    assert (reaches(shop, "web"), reaches(shop, "other")) == (False, True)


def test_a_container_that_may_administrate_its_network_cannot_lift_it(shop: Place) -> None:
    apply(shop, DB)
    path = shop.sandbox("db")
    assert nft(path, "delete", "table", "inet", TABLE).returncode
    assert nft(path, "add", "rule", "inet", TABLE, "input", "accept").returncode
    nft(path, "flush", "ruleset")
    assert not reaches(shop, "other")
    # It can do other things, which its own policies do not survive, and that is said.
    shop.run("--name", "admin", "--net", "shop", "--label", "app=db", "--cap-add", "NET_ADMIN", "plain", "sleep", "600")
    note = "Note: container admin has CAP_NET_ADMIN: its programs can evade what is said of it\n"
    assert shop.linkspan("policy", "check", "web", "admin:80").out.endswith(note)
    assert "Note:" not in shop.linkspan("policy", "check", "web", "db:80").out


def test_published_ports_are_judged_by_who_comes(shop: Place) -> None:
    assert ask(shop.there, HOST, 8080) == OUTSIDE
    apply(shop, DB)
    assert silent(shop.there, HOST, 8080)
    # A neighbour's way round by the host's port leads to the same door.
    gateway = shop.inspect("other")["NetworkSettings"]["Networks"]["shop"]["Gateway"]
    assert silent(shop.sandbox("other"), gateway, 8080)
    apply(shop, DB.replace('source: {selector: app == "web"}', f"source: {{nets: [{OUTSIDE}/32]}}"))
    assert ask(shop.there, HOST, 8080) == OUTSIDE
    assert not reaches(shop, "web")


def test_a_renamed_container_and_one_that_comes_and_goes(shop: Place) -> None:
    apply(shop, DB.replace('app == "web"', 'projectcalico.org/name starts with "front"'))
    assert not reaches(shop, "web")
    shop.docker("rename", "web", "front1")
    assert reaches(shop, "front1")
    shop.run("--name", "front2", "--net", "shop", "plain", "sleep", "600")
    with Watch(shop.sandbox("front1"), address(shop, "db"), 80) as watch:
        assert reaches(shop, "front2")
        shop.docker("rm", "-f", "front2")
    assert watch.answered and not watch.failures
