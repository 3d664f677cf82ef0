"""Beside other firewalls that drop what is forwarded, containers work; and what those refuse by rule stays refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.product.network import answers, ask, silent, who_server
from tests.product.others import THERE, Dockerd, Ufw, dockerd_beside, eventually, forget_rules, rules
from tests.product.place import HOST, OUTSIDE, Place, place

pytestmark = pytest.mark.skipif(not THERE, reason="neither ufw nor dockerd unpacked: see setup/neighbours")

OURS = "-A FORWARD -m mark --mark 0x6c000000/0x6c000000 -m comment --comment linkspan -j ACCEPT"


@pytest.fixture(scope="module")
def ground(new_folder: Callable[[], Path]) -> Iterator[Place]:
    with place(new_folder()) as made:
        made.start()
        made.import_images()
        yield made
        assert "Traceback" not in made.log.read_text(), made.log.read_text()[-4000:]


@pytest.fixture(scope="module")
def ufw(ground: Place) -> Ufw:
    return Ufw(ground)


@pytest.fixture(scope="module")
def dockerd(ground: Place) -> Dockerd:
    return dockerd_beside(ground)


@pytest.fixture
def engine(ground: Place) -> Iterator[Place]:
    """A host without another firewall, and a daemon; both again afterwards."""
    size = ground.log.stat().st_size
    yield ground
    if ground.process is None or ground.process.poll() is not None:
        ground.start()
    elif ground.flags:
        ground.end()
        ground.start()
    ground.clear()
    forget_rules(ground)
    said = ground.log.read_bytes()[size:].decode()
    assert "Traceback" not in said and "ERROR" not in said, said


def works(engine: Place, ref: str = "web", port: int = 8080) -> None:
    """In, out, and between containers."""
    assert answers(engine.there, HOST, port) == OUTSIDE
    assert ask(engine.here, "127.0.0.1", port) and ask(engine.here, HOST, port)
    with who_server(engine.there, OUTSIDE, 9000):
        assert engine.out("exec", ref, "wget", "-qO-", f"http://{OUTSIDE}:9000/") == HOST
    assert engine.out("exec", "other", "wget", "-qO-", f"http://{engine.address(ref)}/") == "here"
    assert engine.out("exec", "other", "wget", "-qO-", f"http://{HOST}:{port}/") == "here"


def run_two(engine: Place) -> None:
    engine.run("--name", "web", "-p", "8080:80", "web")
    engine.run("--name", "other", "web")


def accepted(engine: Place, command: str = "iptables") -> bool:
    return rules(engine, command=command).count(OURS) == 1


def test_ufw_enabled_later_and_reloaded(engine: Place, ufw: Ufw) -> None:
    run_two(engine)
    works(engine)
    ufw("--force", "enable")
    eventually(lambda: accepted(engine))
    works(engine)
    ufw("reload")
    eventually(lambda: accepted(engine))
    works(engine)
    # After the administrator's rules, and before ufw calls what is left blocked.
    order = [line.split()[-1] for line in rules(engine) if "-j" in line]
    assert order.index("ufw-before-forward") < order.index("ACCEPT") < order.index("ufw-after-logging-forward")
    ufw("route", "deny", "proto", "tcp", "to", "any", "port", "80")
    assert silent(engine.there, HOST, 8080) and ask(engine.here, "127.0.0.1", 8080)
    ufw("route", "delete", "deny", "proto", "tcp", "to", "any", "port", "80")
    works(engine)
    ufw("disable")
    eventually(lambda: OURS not in rules(engine))
    works(engine)


def test_ufw_is_there_when_the_daemon_starts(engine: Place, ufw: Ufw) -> None:
    engine.end()
    ufw("--force", "enable")
    engine.start()
    assert accepted(engine) and accepted(engine, "ip6tables")
    run_two(engine)
    works(engine)
    said = engine.log.read_text()
    assert "another firewall drops what is forwarded: ip filter FORWARD (its policy is drop); a rule with" in said
    info = engine.api.info()["FirewallBackend"]["Info"]
    assert ["ForwardAccept", "ip filter FORWARD (its policy is drop)"] in info
    assert silent(engine.there, HOST, 8081)
    # Only what is ours: the host's other forwarding is ufw's as before.
    assert [line for line in rules(engine) if "linkspan" in line] == [OURS]
    ufw("disable")


def test_refused_to_have_a_rule(engine: Place) -> None:
    """--forward-accept=false takes away the rule that is there, and says what is dropped."""
    run_two(engine)
    engine.host.run(["iptables", "-P", "FORWARD", "DROP"])
    eventually(lambda: accepted(engine))
    engine.restart(15, "--forward-accept=false")
    assert OURS not in rules(engine)
    assert silent(engine.there, HOST, 8080)
    (warning,) = engine.api.info()["Warnings"]
    assert warning.startswith("WARNING: another firewall drops what is forwarded, containers' traffic too: ip filter")
    engine.restart(15, "--forward-accept=true")
    works(engine)


@pytest.mark.parametrize("first", ["dockerd", "linkspand"])
def test_beside_dockerd(engine: Place, dockerd: Dockerd, first: str) -> None:
    if first == "dockerd":
        engine.end()
        engine.host.run(["sysctl", "-qw", "net.ipv4.ip_forward=0"])  # it sets its policy where it turns this on
        dockerd.start()
        engine.start()
    else:
        dockerd.start()
        engine.host.run(["iptables", "-P", "FORWARD", "DROP"])  # as it does at the next boot
    try:
        eventually(lambda: accepted(engine))
        dockerd.import_web()
        run_two(engine)
        dockerd("run", "-d", "--name", "theirs", "-p", "8090:80", "web")
        dockerd("run", "-d", "--name", "closed", "web")

        def both_work() -> None:
            works(engine)
            assert answers(engine.there, HOST, 8090) == OUTSIDE
            # Each other's published ports, and nothing else.
            assert engine.out("exec", "web", "wget", "-qO-", f"http://{HOST}:8090/") == "here"
            assert dockerd("exec", "theirs", "wget", "-qO-", f"http://{HOST}:8080/") == "here"
            own = dockerd("inspect", "-f", "{{.NetworkSettings.IPAddress}}", "closed")
            assert answers(engine.here, own, 80)
            # Which bridges are theirs is looked at every second: after their start our rule may let through till then.
            eventually(lambda: silent(engine.sandbox("web"), own, 80), within=5)
            assert (
                dockerd("exec", "theirs", "sh", "-c", f"nc -w 1 {engine.address('other')} 80 </dev/null; echo $?")
                != "0"
            )

        both_work()
        engine.host.run(["iptables", "-F", "FORWARD"])
        eventually(lambda: accepted(engine))
        works(engine)
        dockerd.end()
        dockerd.start()
        eventually(lambda: accepted(engine))
        dockerd("start", "theirs", "closed")
        both_work()
        engine.restart(9)
        both_work()
        dockerd.clear()
    finally:
        dockerd.end()


@pytest.mark.parametrize("command", ["iptables", "iptables-legacy"])
def test_a_policy_and_a_flush(engine: Place, command: str) -> None:
    run_two(engine)
    engine.host.run([command, "-P", "FORWARD", "DROP"])
    eventually(lambda: accepted(engine, command), within=3)
    works(engine)
    engine.host.run([command, "-F"])
    eventually(lambda: accepted(engine, command), within=3)
    works(engine)
    engine.host.run(["nft", "flush", "ruleset"])
    works(engine)
    engine.host.run([command, "-P", "FORWARD", "ACCEPT"])
    eventually(lambda: OURS not in rules(engine, command=command), within=3)
    works(engine)


NATIVE = {
    "policy": "type filter hook forward priority 0; policy drop;",
    "last rule": "type filter hook forward priority 10; policy accept;\n ct state invalid drop\n counter reject",
    "as firewalld": "type filter hook forward priority 10; policy accept;\n ct state established accept\n jump zones\n"
    "reject with icmpx admin-prohibited",
}


@pytest.mark.parametrize("form", NATIVE)
def test_native_tables(engine: Place, form: str) -> None:
    run_two(engine)
    table = (
        f"table inet fw {{\n chain zones {{\n iifname eth7 goto zone\n goto zone\n }}\n chain zone {{\n reject\n }}\n\
chain forward {{\n {NATIVE[form]}\n }}\n }}\n"
    )
    file = engine.folder / "fw.nft"
    file.write_text(table)
    engine.host.run(["nft", "-f", str(file)])
    eventually(lambda: 'comment "linkspan"' in engine.host.run(["nft", "list", "table", "inet", "fw"]).stdout)
    works(engine)
    engine.host.run(["nft", "delete", "table", "inet", "fw"])
    works(engine)
