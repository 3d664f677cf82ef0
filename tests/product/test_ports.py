"""Published ports, in every form, by real connections from everywhere."""

from __future__ import annotations

import socket

import pytest

from tests.hosts import socket_in
from tests.product.network import answers, ask, ask_udp, held, silent, udp_echo, who_server
from tests.product.place import HOST, OUTSIDE, Place

TAKEN = "failed to set up container networking: driver failed programming external connectivity on endpoint"


def test_from_everywhere(engine: Place) -> None:
    engine.run("--name", "web", "-p", "8080:80", "web")
    engine.run("--name", "other", "web")
    inside, neighbour = engine.sandbox("web"), engine.sandbox("other")
    own = engine.address("web")
    assert answers(engine.there, HOST, 8080) == OUTSIDE  # the client's own address
    assert ask(engine.here, HOST, 8080) in (HOST, "172.17.0.1")
    assert ask(engine.here, "127.0.0.1", 8080) == "172.17.0.1"
    assert ask(engine.here, "172.17.0.1", 8080) == "172.17.0.1"
    assert ask(engine.here, own, 80) == "172.17.0.1"
    assert ask(neighbour, own, 80) == engine.address("other")  # directly, without NAT
    assert ask(neighbour, HOST, 8080) and ask(neighbour, "172.17.0.1", 8080)
    assert ask(inside, HOST, 8080) and ask(inside, "172.17.0.1", 8080) and ask(inside, own, 80) == own
    assert engine.out("exec", "other", "wget", "-qO-", f"http://{HOST}:8080/") == "here"


def test_outward(engine: Place) -> None:
    """Containers reach the world under their host's address."""
    with who_server(engine.there, OUTSIDE, 9000):
        engine.run("--name", "one", "plain", "sleep", "60")
        assert engine.out("exec", "one", "wget", "-qO-", f"http://{OUTSIDE}:9000/") == HOST


def test_unpublished_is_refused(engine: Place) -> None:
    engine.run("--name", "web", "web")
    own = engine.address("web")
    answers(engine.here, own, 80)
    assert silent(engine.there, HOST, 80)
    engine.outside.run(["ip", "route", "add", "172.17.0.0/16", "via", HOST])
    try:
        assert silent(engine.there, own, 80)
    finally:
        engine.outside.run(["ip", "route", "del", "172.17.0.0/16"])


def test_published_directly_is_refused_too(engine: Place) -> None:
    """What is published is the host's port, not the container's address."""
    engine.run("--name", "web", "-p", "8080:80", "web")
    assert answers(engine.there, HOST, 8080)
    own = engine.address("web")
    engine.outside.run(["ip", "route", "add", "172.17.0.0/16", "via", HOST])
    try:
        assert silent(engine.there, own, 80)
    finally:
        engine.outside.run(["ip", "route", "del", "172.17.0.0/16"])


def test_on_one_address(engine: Place) -> None:
    engine.run("--name", "web", "-p", f"{HOST}:8080:80", "web")
    assert engine.out("port", "web") == f"80/tcp -> {HOST}:8080"
    assert answers(engine.there, HOST, 8080) == OUTSIDE
    assert silent(engine.here, "127.0.0.1", 8080) and silent(engine.here, "172.17.0.1", 8080)


def test_on_loopback(engine: Place) -> None:
    engine.run("--name", "web", "-p", "127.0.0.1:8080:80", "web")
    assert answers(engine.here, "127.0.0.1", 8080)
    assert silent(engine.there, HOST, 8080) and silent(engine.here, HOST, 8080)
    # Nor by a route to 127.0.0.1 through us, which only an unguarded host would follow.
    engine.outside.run(["sysctl", "-qw", "net.ipv4.conf.eth0.route_localnet=1"])
    engine.outside.run(["ip", "route", "add", "127.0.0.9/32", "via", HOST, "table", "local"], check=False)
    try:
        assert silent(engine.there, "127.0.0.9", 8080)
    finally:
        engine.outside.run(["ip", "route", "del", "127.0.0.9/32", "table", "local"], check=False)
        engine.outside.run(["sysctl", "-qw", "net.ipv4.conf.eth0.route_localnet=0"])


@pytest.mark.parametrize("form", [f"{HOST}::80", "80", "127.0.0.1::80"])
def test_host_port_of_the_engines_choice(engine: Place, form: str) -> None:
    engine.run("--name", "web", "-p", form, "web")
    said, *others = engine.out("port", "web", "80").splitlines()
    address, _, port = said.rpartition(":")
    assert others == ([] if ":" in form else [f"[::]:{port}"])
    assert 32768 <= int(port) <= 60999
    assert address == (form.split(":")[0] if ":" in form else "0.0.0.0")
    assert answers(engine.here, "127.0.0.1" if address == "127.0.0.1" else HOST, int(port))
    assert silent(engine.there, HOST, int(port)) is (address == "127.0.0.1")


def test_range(engine: Place) -> None:
    engine.run("--name", "many", "-p", "8000-8010:8000-8010/udp", "plain", "sleep", "60")
    assert len(engine.out("port", "many").splitlines()) == 22  # on IPv4 and IPv6
    inside = engine.sandbox("many")
    for port in (8000, 8005, 8010):
        with udp_echo(inside, port):
            assert ask_udp(engine.there, HOST, port) == OUTSIDE
            assert ask_udp(engine.here, "127.0.0.1", port)
    with pytest.raises(OSError):
        ask_udp(engine.there, HOST, 8011, timeout=0.3)


def test_one_of_a_range(engine: Place) -> None:
    """`-p 8000-8002:80`: the first one that is free."""
    engine.run("--name", "first", "-p", "8000-8002:80", "web")
    with held(engine.here, "0.0.0.0", 8001):
        engine.run("--name", "second", "-p", "8000-8002:80", "web")
    assert engine.out("port", "first").splitlines() == ["80/tcp -> 0.0.0.0:8000", "80/tcp -> [::]:8000"]
    assert engine.out("port", "second").splitlines() == ["80/tcp -> 0.0.0.0:8002", "80/tcp -> [::]:8002"]
    assert answers(engine.there, HOST, 8002) == OUTSIDE


def test_publish_all(engine: Place) -> None:
    engine.run("--name", "web", "-P", "--expose", "7000-7001", "web")
    ports = engine.inspect("web")["NetworkSettings"]["Ports"]
    assert set(ports) == {"80/tcp", "5353/udp", "7000/tcp", "7001/tcp"}
    assert answers(engine.there, HOST, int(ports["80/tcp"][0]["HostPort"])) == OUTSIDE
    with udp_echo(engine.sandbox("web"), 5353):
        assert ask_udp(engine.there, HOST, int(ports["5353/udp"][0]["HostPort"])) == OUTSIDE
    assert len({(port[-3:], b["HostPort"]) for port, bindings in ports.items() for b in bindings}) == 4


def test_udp_answers_from_the_asked_address(engine: Place) -> None:
    engine.run("--name", "named", "-p", "5353:5353/udp", "plain", "sleep", "60")
    with udp_echo(engine.sandbox("named"), 5353):
        assert ask_udp(engine.there, HOST, 5353) == OUTSIDE
        assert ask_udp(engine.here, HOST, 5353) and ask_udp(engine.here, "127.0.0.1", 5353)
        assert ask_udp(engine.sandbox("named"), HOST, 5353)


def test_udp_follows_the_port_to_the_next_container(engine: Place) -> None:
    """A client that never stops sending is not left with a container that is gone."""
    for turn in range(2):
        engine.run("--name", "named", "-p", "5353:5353/udp", "plain", "sleep", "60")
        if not turn:
            keeps = engine.address("named")
            client = socket_in(engine.there, socket.SOCK_DGRAM)
            client.connect((HOST, 5353))
        with udp_echo(engine.sandbox("named"), 5353):
            client.send(b"x")
            assert client.recv(100).decode() == OUTSIDE
        engine.docker("rm", "-f", "named")
        if not turn:
            engine.run("--name", "placeholder", "plain", "sleep", "60")
            assert engine.address("placeholder") == keeps
    client.close()


def test_two_host_ports_to_one(engine: Place) -> None:
    engine.run("--name", "web", "-p", "8080:80", "-p", f"{HOST}:8081:80", "web")
    assert answers(engine.there, HOST, 8080) == ask(engine.there, HOST, 8081) == OUTSIDE


def test_same_port_on_two_addresses(engine: Place) -> None:
    engine.run("--name", "inner", "-p", "127.0.0.1:8080:80", "web")
    engine.run("--name", "outer", "-p", f"{HOST}:8080:80", "web")
    assert answers(engine.there, HOST, 8080) == OUTSIDE
    assert answers(engine.here, "127.0.0.1", 8080) == "172.17.0.1"


# -- conflicts --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("again", ["8080:80", f"{HOST}:8080:80", "127.0.0.1:8080:80"])
def test_taken_by_another_container(engine: Place, again: str) -> None:
    engine.run("--name", "first", "-p", "8080:80", "web")
    before = [engine.ip("link"), engine.host.run(["nft", "list", "ruleset"]).stdout]
    refused = engine.docker("run", "-d", "--name", "second", "-p", again, "web", status=125).err
    address = again.rpartition(":8080")[0] or "0.0.0.0"
    assert f"{TAKEN} second (" in refused and f"Bind for {address}:8080 failed: port is already allocated" in refused
    found = engine.inspect("second")
    assert (found["State"]["Status"], found["NetworkSettings"]["Networks"]["bridge"]["IPAddress"]) == ("created", "")
    assert "port is already allocated" in found["State"]["Error"]
    after = [engine.ip("link"), engine.host.run(["nft", "list", "ruleset"]).stdout]
    assert [len(str(one)) for one in after] == [len(str(one)) for one in before]
    assert answers(engine.there, HOST, 8080)
    engine.docker("rm", "-f", "first")
    engine.docker("start", "second")
    assert answers(engine.here, "127.0.0.1" if "127" in again else HOST, 8080)


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
@pytest.mark.parametrize("where", ["0.0.0.0", HOST])
def test_taken_by_a_process_of_the_host(engine: Place, protocol: str, where: str) -> None:
    kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
    with held(engine.here, where, 8080, kind):
        done = engine.docker("run", "-d", "--name", "late", "-p", f"8080:80/{protocol}", "web", status=125)
        assert f"{TAKEN} late (" in done.err
        assert f"failed to bind host port 0.0.0.0:8080/{protocol}: address already in use" in done.err or (
            f"failed to bind host port for 0.0.0.0:8080:172.17.0.2:80/{protocol}: address already in use" in done.err
        )
        other = "udp" if protocol == "tcp" else "tcp"
        engine.run("--name", "other", "-p", f"8080:80/{other}", "web")  # another protocol is another port
    engine.docker("start", "late")
    engine.docker("rm", "-f", "late", "other")
    with held(engine.here, "0.0.0.0", 8080, kind):
        pass  # and the host can have it back


def test_a_failed_start_gives_back_the_ports_before_it(engine: Place) -> None:
    with held(engine.here, "0.0.0.0", 8082):
        engine.docker("run", "-d", "-p", "8080:80", "-p", "8081:80", "-p", "8082:80", "web", status=125)
    for port in (8080, 8081, 8082):
        with held(engine.here, "0.0.0.0", port):
            pass


def test_the_host_cannot_take_a_published_port(engine: Place) -> None:
    engine.run("--name", "web", "-p", "8080:80", "-p", "5353:5353/udp", "web")
    for port, kind in ((8080, socket.SOCK_STREAM), (5353, socket.SOCK_DGRAM)):
        with pytest.raises(OSError, match="in use"), held(engine.here, "0.0.0.0", port, kind):
            pass


def test_chosen_ports_skip_what_the_host_holds(engine: Place) -> None:
    engine.run("--name", "probe", "-p", "80", "web")
    following = int(engine.out("port", "probe", "80").rpartition(":")[2]) + 1
    with held(engine.here, "0.0.0.0", following), held(engine.here, HOST, following + 1):
        chosen = set()
        for number in range(4):
            engine.run("--name", f"web{number}", "-p", "80", "web")
            chosen.add(int(engine.out("port", f"web{number}", "80").rpartition(":")[2]))
        assert len(chosen) == 4 and not chosen & {following, following + 1}


def test_restart_keeps_named_ports(engine: Place) -> None:
    engine.run("--name", "web", "-p", "8080:80", "web")
    assert answers(engine.there, HOST, 8080)
    for verb in (("restart", "-t", "0", "web"), ("stop", "-t", "0", "web"), ("start", "web")):
        engine.docker(*verb)
        if verb[0] == "stop":
            assert silent(engine.there, HOST, 8080) and engine.out("port", "web") == ""
        else:
            assert answers(engine.there, HOST, 8080) == OUTSIDE


def test_nat_view(engine: Place) -> None:
    engine.run("--name", "web", "-p", "8080:80", "-p", "5353:5353/udp", "web")
    said = engine.linkspan("nat").out
    assert "MASQUERADE" in said and "172.17.0.0/16" in said
    assert "tcp dpt:8080 to:172.17.0.2:80" in said and "udp dpt:5353 to:172.17.0.2:5353" in said
    ruleset = engine.linkspan("nat", "--nft").out
    assert "container web, network bridge" in ruleset and "network bridge" in ruleset


def test_sctp(engine: Place) -> None:
    """Translated like the others. This kernel has no SCTP sockets: nobody could take the port, nor speak to it here."""
    engine.run("--name", "s1", "-p", "9000:9001/sctp", "-p", "9000:80", "web")
    assert engine.out("port", "s1", "9001/sctp").splitlines()[0] == "0.0.0.0:9000"
    assert "sctp . 9000 comment" in engine.linkspan("nat", "--nft").out
    refused = engine.docker("run", "-d", "-p", "9000:1/sctp", "web", status=125).err
    assert "Bind for 0.0.0.0:9000 failed: port is already allocated" in refused
    engine.docker("rm", "-f", "s1")
    assert "sctp . 9000" not in engine.linkspan("nat", "--nft").out
