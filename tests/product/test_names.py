"""Containers find each other by name on networks of their own."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import dns.flags
import dns.message
import dns.rcode
import pytest

from tests.hosts import socket_in
from tests.product.dns_tools import addresses, ask, exchange, server, with_records
from tests.product.place import HOST, OUTSIDE, Place, place
from tests.product.traces import settles, traces

LISTENER = "127.0.0.55"


@pytest.fixture(scope="module")
def ground(new_folder: Callable[[], Path]) -> Iterator[Place]:
    with place(new_folder()) as made:
        made.start("--host-dns", LISTENER)
        made.import_images()
        yield made


@pytest.fixture
def engine(ground: Place) -> Iterator[Place]:
    before = traces(ground)
    size = ground.log.stat().st_size
    yield ground
    if ground.process is None or ground.process.poll() is not None:
        ground.start(*ground.flags)
    ground.clear()
    settles(ground, before)
    assert "Traceback" not in ground.log.read_bytes()[size:].decode()


def sleeper(engine: Place, name: str, *flags: str, net: str = "own") -> str:
    """A container that sleeps; the namespace of its sandbox."""
    engine.run("--name", name, "--net", net, *flags, "plain", "sleep", "600")
    return engine.sandbox(name)


def place_of(engine: Place, ref: str, network: str) -> str:
    """A container's address on one of its networks."""
    return str(engine.inspect(ref)["NetworkSettings"]["Networks"][network]["IPAddress"])


def resolver(engine: Place) -> int:
    """The resolver's process id."""
    (found,) = (
        int(folder.name)
        for folder in Path("/proc").iterdir()
        if folder.name.isdigit() and str(engine.exec_root / "netns").encode() in _command(folder)
    )
    return found


def _command(folder: Path) -> bytes:
    with contextlib.suppress(OSError):
        command = (folder / "cmdline").read_bytes()
        return command if b"linkspan.resolver" in command else b""
    return b""


def resolv_conf(engine: Place, ref: str) -> list[str]:
    """The lines that are no remarks."""
    text = engine.out("exec", ref, "cat", "/etc/resolv.conf")
    return [line for line in text.splitlines() if line and not line.startswith("#")]


@contextlib.contextmanager
def host_resolv_conf(engine: Place, text: str) -> Iterator[None]:
    """What the host's own file says meanwhile."""
    file = engine.folder / "resolv.conf"
    file.write_text(text)
    engine.host.run(["mount", "--bind", str(file), "/etc/resolv.conf"])
    try:
        yield
    finally:
        engine.host.run(["umount", "/etc/resolv.conf"])
        file.unlink()


def test_names_of_every_kind(engine: Place) -> None:
    engine.docker("network", "create", "own")
    asking = sleeper(engine, "asking")
    id_ = engine.run(
        *("--name", "web", "--net", "own", "--network-alias", "www", "--network-alias", "Site"),
        *("--hostname", "front", "plain", "sleep", "600"),
    )
    address = engine.address("web")
    for name in ("web", "WEB", "www", "site", id_[:12], "front", "web.own", "www.own", "front.own"):
        assert addresses(asking, name) == [address], name
    assert f"Address: {address}" in engine.out("exec", "asking", "nslookup", "web", status=None)
    assert addresses(asking, ".".join(reversed(address.split("."))) + ".in-addr.arpa", "PTR") == ["web.own."]
    assert addresses(asking, "asking") == [engine.address("asking")]
    for type_ in ("AAAA", "MX", "TXT"):
        assert addresses(asking, "web", type_) == []
    message = ask(asking, "web")
    assert message.answer[0].ttl == 600 and message.flags & dns.flags.RA
    assert addresses(asking, "web", tcp=True) == [address]


def test_both_families(engine: Place) -> None:
    engine.docker("network", "create", "--ipv6", "own")
    asking = sleeper(engine, "asking")
    sleeper(engine, "web")
    six = engine.inspect("web")["NetworkSettings"]["Networks"]["own"]["GlobalIPv6Address"]
    assert six and addresses(asking, "web", "AAAA") == [six]
    assert addresses(asking, "web") == [engine.address("web")]
    assert addresses(asking, ipaddress.ip_address(six).reverse_pointer, "PTR") == ["web.own."]
    engine.newest("network", "create", "--ipv4=false", "--ipv6", "six")
    engine.docker("network", "connect", "six", "asking")
    sleeper(engine, "far", net="six")
    assert addresses(asking, "far") == [] != addresses(asking, "far", "AAAA")


def test_who_sees_whom(engine: Place) -> None:
    """Only who is on the same network with names; the default bridge has none."""
    with host_resolv_conf(engine, ""):
        engine.docker("network", "create", "own")
        engine.docker("network", "create", "other")
        one, two = sleeper(engine, "one"), sleeper(engine, "two", net="other")
        sleeper(engine, "plain", net="bridge")
        for space, name in ((one, "two"), (one, "two.other"), (two, "one"), (one, "plain")):
            assert ask(space, name).rcode() == dns.rcode.SERVFAIL
        engine.docker("network", "connect", "--alias", "deux", "own", "two")
        assert addresses(one, "two") == addresses(one, "deux") == [place_of(engine, "two", "own")]
        assert addresses(two, "one.own") == addresses(two, "one") == [engine.address("one")]
        assert addresses(two, "two.other") == [place_of(engine, "two", "other")]
        with pytest.raises(OSError):  # nobody is there
            ask(engine.sandbox("plain"), "one", timeout=0.5)


def test_names_follow_at_once(engine: Place) -> None:
    """Connecting, disconnecting, another name, an end and a new beginning: with the answer to the request it is so."""
    with host_resolv_conf(engine, ""):
        engine.docker("network", "create", "own")
        engine.docker("network", "create", "other")
        asking = sleeper(engine, "asking")
        sleeper(engine, "web", net="other")
        assert ask(asking, "web").rcode() == dns.rcode.SERVFAIL
        engine.docker("network", "connect", "own", "web")
        assert addresses(asking, "web") == [place_of(engine, "web", "own")]
        engine.docker("rename", "web", "site")
        assert addresses(asking, "site") and ask(asking, "web").rcode() == dns.rcode.SERVFAIL
        assert addresses(
            asking, ".".join(reversed(place_of(engine, "site", "own").split("."))) + ".in-addr.arpa", "PTR"
        ) == ["site.own."]
        engine.docker("network", "disconnect", "own", "site")
        assert ask(asking, "site").rcode() == dns.rcode.SERVFAIL
        engine.docker("network", "connect", "own", "site")
        engine.docker("stop", "-t", "0", "site")
        assert ask(asking, "site").rcode() == dns.rcode.SERVFAIL
        engine.docker("start", "site")
        assert addresses(asking, "site") == [place_of(engine, "site", "own")]
        engine.docker("restart", "-t", "0", "asking")
        assert addresses(engine.sandbox("asking"), "site") == [place_of(engine, "site", "own")]


def test_an_alias_of_many_is_shuffled_and_cut_to_what_the_client_takes(engine: Place) -> None:
    engine.docker("network", "create", "own")
    asking = sleeper(engine, "asking", "--network-alias", "all")
    for number in range(5):
        sleeper(engine, f"c{number}", "--network-alias", "all")
    every = [engine.address(name) for name in ("asking", *(f"c{number}" for number in range(5)))]
    seen = {tuple(addresses(asking, "all")) for _ in range(40)}
    assert len(seen) > 5 and all(sorted(found) == sorted(every) for found in seen)
    assert {found[0] for found in seen} == set(every)


def test_links_on_a_network_of_ones_own(engine: Place) -> None:
    engine.docker("network", "create", "own")
    sleeper(engine, "db")
    linked = sleeper(engine, "linked", "--link", "db:store", "--link", "later:cache")  # the one is not there yet
    other = sleeper(engine, "other")
    assert addresses(linked, "store") == addresses(linked, "db") == [engine.address("db")]
    with host_resolv_conf(engine, ""):
        assert ask(other, "store").rcode() == dns.rcode.SERVFAIL
    sleeper(engine, "later")
    assert addresses(linked, "cache") == [engine.address("later")]


def test_who_joins_another_asks_there(engine: Place) -> None:
    engine.docker("network", "create", "own")
    sleeper(engine, "web")
    sleeper(engine, "joined", net="container:web")
    assert f"Address: {engine.address('web')}" in engine.out("exec", "joined", "nslookup", "web", status=None)
    assert resolv_conf(engine, "joined") == resolv_conf(engine, "web")


def test_a_container_may_have_a_server_of_its_own_at_port_53(engine: Place) -> None:
    engine.docker("network", "create", "own")
    space = sleeper(engine, "web")
    with server(space, "0.0.0.0", with_records("A 10.9.9.9")):
        assert addresses(space, "anything", server="127.0.0.1") == ["10.9.9.9"]
        assert addresses(space, "web") == [engine.address("web")]
        assert addresses(space, "web", tcp=True) == [engine.address("web")]


# -- resolv.conf ------------------------------------------------------------------------------------------------------


def test_resolv_conf(engine: Place) -> None:
    text = f"nameserver {OUTSIDE}\nsearch corp.example\noptions rotate\n"
    with host_resolv_conf(engine, text):
        engine.docker("network", "create", "own")
        sleeper(engine, "host-like")
        asked = ("--dns", "10.9.9.9", "--dns-search", "a.example", "--dns-opt", "ndots:2")
        sleeper(engine, "asked", *asked)
        sleeper(engine, "plain", net="bridge")
        assert resolv_conf(engine, "host-like") == [
            "nameserver 127.0.0.11",
            "search corp.example",
            "options rotate ndots:0",
        ]
        assert resolv_conf(engine, "asked") == ["nameserver 127.0.0.11", "search a.example", "options ndots:2"]
        assert "# ExtServers: [10.9.9.9]" in engine.out("exec", "asked", "cat", "/etc/resolv.conf")
        assert resolv_conf(engine, "plain") == text.splitlines()
        # A network with names comes, and goes.
        engine.docker("network", "connect", "own", "plain")
        assert resolv_conf(engine, "plain")[0] == "nameserver 127.0.0.11"
        assert addresses(engine.sandbox("plain"), "asked") == [engine.address("asked")]
        engine.docker("network", "disconnect", "own", "plain")
        assert resolv_conf(engine, "plain") == text.splitlines()
        # What the user has edited is left alone until the next start.
        engine.docker("exec", "plain", "sh", "-c", "echo nameserver 10.1.1.1 >/etc/resolv.conf")
        engine.docker("network", "connect", "own", "plain")
        assert resolv_conf(engine, "plain") == ["nameserver 10.1.1.1"]
        engine.docker("restart", "-t", "0", "plain")
        assert resolv_conf(engine, "plain")[0] == "nameserver 127.0.0.11"


# -- other names ------------------------------------------------------------------------------------------------------


def test_the_hosts_servers_are_asked_from_the_host(engine: Place) -> None:
    """Also those that only the host can reach; and again when the host has others."""
    engine.docker("network", "create", "own")
    space = sleeper(engine, "web")
    with (
        server(engine.here, "127.0.0.53", with_records("A 10.9.9.9", "MX 10 mail.example.")) as local,
        host_resolv_conf(engine, "nameserver 127.0.0.53\n"),
    ):
        assert addresses(space, "example.com") == ["10.9.9.9", "10 mail.example."]
        assert addresses(space, "example.com", tcp=True) == ["10.9.9.9", "10 mail.example."]
        assert local.asked == [("udp", "example.com"), ("tcp", "example.com")]
    with (
        server(engine.there, OUTSIDE, with_records(rcode=dns.rcode.NXDOMAIN)),
        host_resolv_conf(engine, f"nameserver {OUTSIDE}\n"),
    ):
        assert ask(space, "example.com").rcode() == dns.rcode.NXDOMAIN


def test_servers_of_ones_own_are_asked_from_the_sandbox(engine: Place) -> None:
    engine.docker("network", "create", "own")
    space = sleeper(engine, "web", "--dns", "127.0.0.1")
    with (
        server(space, "127.0.0.1", with_records("A 10.7.7.7")),
        server(engine.here, "127.0.0.1", with_records("A 10.8.8.8")),
    ):
        assert addresses(space, "example.com") == ["10.7.7.7"]
    with server(engine.there, OUTSIDE, with_records("A 10.6.6.6")):
        assert addresses(sleeper(engine, "out", "--dns", OUTSIDE), "example.com") == ["10.6.6.6"]


def test_three_servers_are_tried_in_their_order(engine: Place) -> None:
    engine.docker("network", "create", "own")
    flags = [word for last in (1, 2, 3, 4) for word in ("--dns", f"127.0.1.{last}")]
    space = sleeper(engine, "web", *flags)
    with contextlib.ExitStack() as running:
        running.enter_context(server(space, "127.0.1.4", with_records("A 10.0.0.4")))
        second = running.enter_context(server(space, "127.0.1.2", with_records(rcode=dns.rcode.SERVFAIL)))
        with server(space, "127.0.1.3", with_records("A 10.0.0.3")) as third:
            # Nobody listens at the first one, the second one fails.
            assert addresses(space, "example.com") == ["10.0.0.3"]
            assert len(second.asked) == len(third.asked) == 1
        assert ask(space, "example.com").rcode() == dns.rcode.SERVFAIL  # the fourth one is not tried


def test_internal_networks_ask_nobody_through_the_host(engine: Place) -> None:
    engine.docker("network", "create", "--internal", "own")
    engine.docker("network", "create", "outward")
    space = sleeper(engine, "web")
    with (
        server(engine.here, "127.0.0.53", with_records("A 10.9.9.9")) as local,
        host_resolv_conf(engine, "nameserver 127.0.0.53\n"),
    ):
        assert ask(space, "example.com").rcode() == dns.rcode.SERVFAIL and local.asked == []
        assert addresses(space, "web") == [engine.address("web")]
        engine.docker("network", "connect", "outward", "web")
        assert addresses(space, "example.com") == ["10.9.9.9"]
        engine.docker("network", "disconnect", "outward", "web")
        assert ask(space, "example.com").rcode() == dns.rcode.SERVFAIL
    own = sleeper(engine, "own", "--dns", engine.address("web"))
    with server(space, "0.0.0.0", with_records("A 10.5.5.5")):
        assert addresses(own, "example.com") == ["10.5.5.5"]  # a server on the network itself


def test_who_sets_ndots_wants_search_domains_first(engine: Place) -> None:
    engine.docker("network", "create", "own")
    space = sleeper(engine, "web", "--dns", "127.0.0.1", "--dns-opt", "ndots:1")
    with server(space, "127.0.0.1", with_records("A 10.7.7.7")) as local:
        assert addresses(space, "single") == [] and local.asked == []
        assert addresses(space, "single.example") == ["10.7.7.7"]
        assert addresses(space, "web") == [engine.address("web")]


def test_long_answers(engine: Place) -> None:
    """Asked for again by TCP where the server had to cut it, and cut to what the client takes."""
    engine.docker("network", "create", "own")
    space = sleeper(engine, "web", "--dns", "127.0.0.1")
    long = with_records(*(f'TXT "{number:03d}{"x" * 60}"' for number in range(60)))  # some 4,500 bytes
    with server(space, "127.0.0.1", long) as upstream:
        whole = ask(space, "long.example", "TXT", tcp=True)
        assert len(whole.answer[0]) == 60 and upstream.asked == [("tcp", "long.example")]
        plain = ask(space, "long.example", "TXT")
        assert plain.flags & dns.flags.TC and 3 < len(plain.answer[0]) < 8
        assert upstream.asked[1:] == [("udp", "long.example"), ("tcp", "long.example")]
        edns = ask(space, "long.example", "TXT", size=1232)
        assert edns.flags & dns.flags.TC and 12 < len(edns.answer[0]) < 20 and edns.edns == 0
        large = ask(space, "long.example", "TXT", size=8192)
        assert not large.flags & dns.flags.TC and len(large.answer[0]) == 60


def test_bad_packets_are_answered_or_dropped_and_nothing_else(engine: Place) -> None:
    engine.docker("network", "create", "own")
    space = sleeper(engine, "web")
    good = dns.message.make_query("web.", "A").to_wire()
    answered = {
        dns.rcode.FORMERR: (good[:-1], good[:4] + b"\0\0" + good[6:], good[:12] + b"\xc0\x0c" + good[17:]),
        dns.rcode.NOTIMP: (good[:2] + b"\x29" + good[3:],),
    }
    with socket_in(space, socket.SOCK_DGRAM) as link:
        link.connect(("127.0.0.11", 53))
        for rcode, packets in answered.items():
            for packet in packets:
                link.send(packet)
                assert dns.message.from_wire(link.recv(512)).rcode() == rcode
        for packet in (b"", b"\0", good[:11], good[:2] + b"\x81" + good[3:], os.urandom(4096)):
            link.send(packet)
        link.send(good)
        while (answer := link.recv(512))[:2] != good[:2] or not dns.message.from_wire(answer).answer:
            pass  # to the random one, if it could be taken for a question
    with socket_in(space) as link:
        link.connect(("127.0.0.11", 53))
        first, second = (dns.message.from_wire(exchange(link, good)) for _ in range(2))
        assert first.answer == second.answer
        link.sendall(b"\0\0")
        assert link.recv(10) == b""
    assert addresses(space, "web") == [engine.address("web")]


def test_a_thousand_at_once(engine: Place) -> None:
    """Each from a socket of its own, half of them to be asked elsewhere."""
    engine.docker("network", "create", "own")
    space = sleeper(engine, "web", "--dns", "127.0.0.1")
    address = engine.address("web")
    with server(space, "127.0.0.1", with_records("A 10.7.7.7")), contextlib.ExitStack() as opened:
        links = [opened.enter_context(socket_in(space, socket.SOCK_DGRAM)) for _ in range(1000)]
        for number, link in enumerate(links):
            link.connect(("127.0.0.11", 53))
            link.send(dns.message.make_query("web." if number % 2 else f"n{number}.example.", "A", id=number).to_wire())
        for number, link in enumerate(links):
            link.settimeout(10)
            message = dns.message.from_wire(link.recv(512))
            assert message.id == number
            assert message.answer[0][0].to_text() == (address if number % 2 else "10.7.7.7")


# -- lives of the processes -------------------------------------------------------------------------------------------


def test_it_answers_while_the_daemon_is_dead_and_is_found_again(engine: Place) -> None:
    engine.docker("network", "create", "own")
    asking = sleeper(engine, "asking")
    sleeper(engine, "web")
    address, process = engine.address("web"), resolver(engine)
    for number in (signal.SIGKILL, signal.SIGTERM):
        engine.end(number)
        assert addresses(asking, "web") == [address]
        engine.start(*engine.flags)
        assert resolver(engine) == process
        assert addresses(asking, "web") == [address]
    sleeper(engine, "new")
    assert addresses(asking, "new") == [engine.address("new")]


def test_it_is_replaced_when_it_dies(engine: Place) -> None:
    engine.docker("network", "create", "own")
    asking = sleeper(engine, "asking")
    sleeper(engine, "web")
    address, process = engine.address("web"), resolver(engine)
    os.kill(process, signal.SIGKILL)
    began = time.monotonic()
    while True:
        with contextlib.suppress(OSError):
            assert addresses(asking, "web", timeout=0.1) == [address]
            break
        assert time.monotonic() - began < 10
    assert resolver(engine) != process
    sleeper(engine, "new")
    assert addresses(asking, "new") == [engine.address("new")]
    assert "the resolver has ended" in engine.log.read_text()


def test_it_ends_with_its_daemon_where_there_is_nobody_to_answer(engine: Place) -> None:
    process = resolver(engine)
    engine.end()
    deadline = time.monotonic() + 5
    while b"linkspan.resolver" in _command(Path(f"/proc/{process}")):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_the_host_asks_for_containers(engine: Place) -> None:
    """--host-dns: `name.network.linkspan`, from the host alone, also on the default bridge."""
    engine.docker("network", "create", "own")
    space = sleeper(engine, "web")
    sleeper(engine, "plain", net="bridge")
    for name, address in (("web.own", engine.address("web")), ("plain.bridge", engine.address("plain"))):
        for tcp in (False, True):
            assert addresses(engine.here, f"{name}.linkspan", server=LISTENER, tcp=tcp) == [address]
        reverse = ".".join(reversed(address.split("."))) + ".in-addr.arpa"
        assert addresses(engine.here, reverse, "PTR", server=LISTENER) == [f"{name}.linkspan."]
    assert ask(engine.here, "nobody.own.linkspan", server=LISTENER).rcode() == dns.rcode.NXDOMAIN
    assert ask(engine.here, "example.com", server=LISTENER).rcode() == dns.rcode.REFUSED
    with pytest.raises(OSError):
        ask(space, "web.own.linkspan", server=HOST, timeout=0.3)
    engine.docker("rm", "-f", "web")
    assert ask(engine.here, "web.own.linkspan", server=LISTENER).rcode() == dns.rcode.NXDOMAIN


def test_a_listener_that_cannot_be_had_is_said_and_everything_else_goes_on(engine: Place) -> None:
    flags = engine.flags
    try:
        engine.restart(signal.SIGTERM, "--host-dns", "10.200.200.200:5353")
        engine.docker("network", "create", "own")
        space = sleeper(engine, "web")
        assert addresses(space, "web") == [engine.address("web")]
        assert "no names at 10.200.200.200:5353: cannot assign requested address" in engine.log.read_text()
    finally:
        engine.restart(signal.SIGTERM, *flags)
    for wrong in ("nowhere", "127.0.0.55:0", "127.0.0.55:x"):
        assert "--host-dns" in engine.refuses("--host-dns", wrong)
