"""A mesh of real hosts, from the first one on: joining, coming back, being taken out, and what is left of it."""

from __future__ import annotations

import concurrent.futures
import itertools
import json
import os
import shutil
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from linkspan.daemon.mesh import certificates
from linkspan.daemon.mesh.certificates import Authority
from tests.cluster.place import Member
from tests.cluster.probes import carries
from tests.mesh.place import FLAGS, Mesh, mesh, restart, same, until
from tests.product.dns_tools import addresses
from tests.traffic import Traffic, Way


def store_of(hosts: Mesh, number: int) -> int:
    """The process id of a host's member of the store; 0 where none runs."""
    mark = f"LINKSPAN_SUPERVISED={hosts[number].data_root}/mesh/etcd/etcd ".encode()
    for folder in Path("/proc").iterdir():
        try:
            found = mark in (folder / "environ").read_bytes()
        except OSError:
            continue
        if found:
            return int(folder.name)
    return 0


FEW, MANY = (1, 2), (3, 4, 5)
ALL = (*FEW, *MANY)


def test_five_hosts(new_folder: Callable[[], Path]) -> None:
    with mesh(new_folder(), 5) as hosts:
        hosts.begin()
        hosts.join(2)
        hosts.join(3, at=2)  # any host of the mesh lets others in
        assert hosts.voters(3) == ["h1"]
        what_stands_in_the_way(hosts)
        hosts.join(4)
        hosts.join(5)
        containers_reach_each_other(hosts)
        same(lambda: hosts.voters(5), names(ALL), "five have a vote")
        both_sides_of_a_parted_net_go_on(hosts)
        a_daemon_comes_back(hosts)
        the_store_is_killed(hosts)
        two_are_gone_for_good(hosts)
        a_host_is_lost(hosts)
        who_was_away_follows_to_another_authority(hosts)
        all_start_at_once(hosts)
        most_of_the_members_are_gone_for_good(hosts)


def names(numbers: Sequence[int]) -> list[str]:
    return [f"h{number}" for number in numbers]


def containers_reach_each_other(hosts: Mesh) -> None:
    hosts.each(ALL, lambda member: member.import_images())
    made = hosts[1].out("network", "create", "-d", "weave", "city")
    for member in hosts:
        until(lambda member=member: member.request("GET", f"/networks/{made}")[0] == 200, "the network is there")
    hosts.each(ALL, lambda member: sleeper(member, f"c-{member.name}", "--restart", "always"))
    all_reach_each_other(hosts)


def sleeper(member: Member, name: str, *options: str) -> None:
    member.run("--name", name, "--net", "city", *options, "plain", "sleep", "1000")


def all_reach_each_other(hosts: Mesh) -> None:
    """By their names and addresses, of which each has one of its own, and every host says where everybody is."""
    ends = [
        End(member, name, member.sandbox(name), member.address(name))
        for member in hosts
        for name in member.out("ps", "--format", "{{.Names}}").split()
    ]
    wanted = {end.name: end.address for end in ends}
    assert len({*wanted.values()}) == len(wanted) == len(ends)
    for member in hosts:
        same(lambda member=member: on_the_network(member), wanted, f"{member.name} knows where everybody is")
    for one, other in itertools.permutations(ends, 2):
        if one.member is not other.member:
            until(lambda pair=(one, other): meet(*pair), f"{one.name} reaches {other.name}")


@dataclass(frozen=True)
class End:
    """A container."""

    member: Member
    name: str
    sandbox: str
    address: str


def meet(one: End, other: End) -> bool:
    """By address, and by name."""
    heard = carries(one.sandbox, other.sandbox, other.address, "tcp", 100, within=1)
    return heard and addresses(one.sandbox, other.name) == [other.address]


def on_the_network(member: Member) -> dict[str, str]:
    """The containers, as one host knows it: the address of each."""
    _, network = member.request("GET", "/networks/city")
    return {one["Name"]: one["IPv4Address"].partition("/")[0] for one in network["Containers"].values()}


def reaches(hosts: Mesh, one: int, other: int, name: str) -> bool:
    """Whether what was on a host at the beginning reaches a container of another one's."""
    here, there = hosts[one].sandbox(f"c-h{one}"), hosts[other].sandbox(name)
    return carries(here, there, hosts[other].address(name), "tcp", 100, within=1)


def what_stands_in_the_way(hosts: Mesh) -> None:
    """Nothing is left of an attempt."""
    token = hosts[1].linkspan("mesh", "token").out.strip()
    wrong = token[:-20] + "a" * 20
    refused = hosts[4].refuses(*FLAGS, "--join", hosts[1].at, "--token", wrong)
    assert "it is not whole, or something in it was changed" in refused
    hosts[4].host.run(["hostname", "h2"])
    refused = hosts[4].refuses(*FLAGS, "--join", f"{hosts[3].at}:6783", "--token", token)
    assert "the name h2 is another host's of the mesh, at 10.211.55.2" in refused
    hosts[4].host.run(["hostname", "h4"])
    rotated = hosts[2].linkspan("mesh", "token", "rotate", "--expires", "24h").out.strip()
    assert rotated != token == token.lower() and rotated == hosts[3].linkspan("mesh", "token").out.strip()
    refused = hosts[4].refuses(*FLAGS, "--join", hosts[1].at, "--token", token)
    assert "refuses the token: it is not, or no more, the mesh's" in refused
    assert "wanted to join with a wrong token" in hosts[1].log.read_text()
    assert not (hosts[4].data_root / "mesh").exists()


def both_sides_of_a_parted_net_go_on(hosts: Mesh) -> None:
    """What runs does; and what is made on either side has addresses of its own, and is known to all when they meet."""
    for member in hosts:
        until(lambda member=member: member.request("GET", "/cluster")[1]["Held"], f"{member.name} has a block alone")
    pairs = [pair for part in (FEW, MANY) for pair in itertools.permutations(part, 2)]
    with Traffic([way(hosts, *pair) for pair in pairs]) as traffic:
        traffic.go_on()
        hosts.fabric.part(*((f"h{one}", f"h{other}") for one in FEW for other in MANY))
        hosts.each(ALL, lambda member: [sleeper(member, f"{name}-{member.name}") for name in ("d", "e")])
        for one, other in pairs:
            until(
                lambda pair=(one, other): reaches(hosts, *pair, f"d-h{pair[1]}"), f"h{one} reaches h{other}'s new one"
            )
        refused = hosts[2].docker("network", "create", "-d", "weave", "new", status=1)
        assert "the cluster's store cannot be used now" in refused.err or "etcd does not answer" in refused.err
        until(lambda: made(hosts[4], "new"), "those who are more can make one")
        hosts.fabric.part()
        all_reach_each_other(hosts)
        traffic.go_on()
    assert not traffic.failures
    for member in hosts:
        until(member.usable, f"{member.name} can use the store")
        until(lambda member=member: "new" in member.out("network", "ls"), f"{member.name} knows the new network")


def way(hosts: Mesh, one: int, other: int) -> Way:
    here, there = f"c-h{one}", f"c-h{other}"
    ends = hosts[one].sandbox(here), hosts[other].sandbox(there)
    return Way(f"h{one} to h{other}", *ends, hosts[other].address(there), host=there)


def made(member: Member, network: str) -> bool:
    return not member.docker("network", "create", "-d", "weave", network, status=None).status


def a_daemon_comes_back(hosts: Mesh) -> None:
    before = store_of(hosts, 1)
    restart(hosts[1], signal.SIGKILL)
    until(hosts[1].usable, "it is back")
    assert store_of(hosts, 1) == before and reaches(hosts, 2, 1, "c-h1")


def the_store_is_killed(hosts: Mesh) -> None:
    for number in ALL:
        before = store_of(hosts, number)
        os.kill(before, signal.SIGKILL)
    until(lambda: all(store_of(hosts, n) for n in ALL) and hosts[1].usable(), "all five run again")
    until(lambda: made(hosts[2], "more"), "it can be used")


def two_are_gone_for_good(hosts: Mesh) -> None:
    """Three of five votes are enough; and three are what three hosts have, as soon as somebody says who has gone."""
    for number in (4, 5):
        hosts.kill(number)
    until(lambda: all(hosts[number].usable() for number in (1, 2, 3)), "the others can use the store")
    until(lambda: made(hosts[3], "yet-more"), "and write into it")
    assert hosts.voters(1) == names(ALL)
    hosts[1].linkspan("mesh", "forget", "--force", "h4", "h5")
    same(lambda: hosts.voters(3), names((1, 2, 3)), "three have a vote")
    one_authority_is_in_force(hosts, (1, 2, 3))


def all_start_at_once(hosts: Mesh) -> None:
    """As after a power cut: without a token, and without anybody who is there already."""
    for number in (1, 2, 4):
        hosts.kill(number)
    for number in (1, 2, 4):
        hosts.plug(number)
    hosts.each((1, 2, 4), lambda member: member.start(*FLAGS))
    for number in (1, 2, 4):
        until(hosts[number].usable, f"h{number} can use the store")
    until(lambda: reaches(hosts, 2, 1, "c-h1"), "their containers reach each other again")


def most_of_the_members_are_gone_for_good(hosts: Mesh) -> None:
    """So it seems. Where they come back, all of them together, they follow the one that went on."""
    refused = hosts[2].linkspan("mesh", "recover", status=1)
    assert "the store answers: there is nothing to recover" in refused.err
    for number in (1, 4):
        hosts.kill(number)
    hosts[2].linkspan("mesh", "recover")
    assert hosts.voters(2) == ["h2"] and "city" in hosts[2].out("network", "ls")
    until(lambda: made(hosts[2], "later"), "it can be used")
    run = ("run", "-d", "--net", "later", "plain", "sleep", "1000")
    until(lambda: not hosts[2].docker(*run, status=None).status, "also by containers")
    for number in (1, 4):
        hosts.plug(number)
    hosts.each((1, 4), lambda member: member.start(*FLAGS))
    for number in (1, 4):
        until(lambda n=number: hosts[n].request("GET", "/networks/later")[0] == 200, "it is one mesh again")
    until(lambda: reaches(hosts, 2, 1, "c-h1"), "their containers reach each other again")


def one_authority_is_in_force(hosts: Mesh, numbers: Sequence[int]) -> None:
    """Each host goes over to it by itself, and needs a moment until its store can be used again."""
    until(lambda: len({authority_of(hosts[number]) for number in numbers}) == 1, "all have the same authority in force")
    for number in numbers:
        until(hosts[number].usable, f"h{number} can use the store")


def authority_of(member: Member, *, held: bool = False) -> int:
    """The number of the one in force on a host; or of the newest that it has the key of."""
    own = json.loads((member.data_root / "mesh/mesh.json").read_text())
    return max(own["Authority"], own["Held"] if held else 0)


def believes(member: Member, certificate: Path, key: Path) -> bool:
    """Whether a host's member of the store answers who shows this."""
    address = next(host["Address"] for host in member.request("GET", "/hosts")[1] if host["Self"])
    shown = ("--insecure", "--cert", str(certificate), "--key", str(key))
    asked = member.host.run(
        ["curl", "-sSf", "-m5", *shown, "--data", '{"key":"AA=="}', f"https://{address}:2379/v3/kv/range"], check=False
    )
    return asked.returncode == 0


def believes_itself(member: Member) -> bool:
    folder = member.data_root / "mesh"
    return believes(member, folder / f"authority-{authority_of(member)}/host.pem", folder / "host.key")


def believes_a_thief(member: Member, stolen: Path) -> bool:
    """With a certificate that nobody has ever seen, just signed by the key on a lost host's disk."""
    authority, key = Authority((stolen / "ca.pem").read_bytes(), (stolen / "ca.key").read_bytes()), stolen / "fresh.key"
    key.write_bytes(certificates.new_key())
    (stolen / "fresh.pem").write_bytes(authority.host(key.read_bytes(), "fresh", (), time.time()))
    return believes(member, stolen / "fresh.pem", key)


def who_was_away_follows_to_another_authority(hosts: Mesh) -> None:
    """One whose daemon did not run, while its member of the store did; and one whose daemon is killed in the midst."""
    hosts[4].end()
    before = authority_of(hosts[1])
    with concurrent.futures.ThreadPoolExecutor(1) as thread:
        rotated = thread.submit(hosts[1].linkspan, "mesh", "authority", "rotate")
        until(lambda: authority_of(hosts[2], held=True) > before, "h2 has the next one")
        hosts[2].end(signal.SIGKILL)
        hosts[2].start(*FLAGS)
        assert f"number {before + 1}" in rotated.result().out
    hosts[4].start(*FLAGS)
    one_authority_is_in_force(hosts, (1, 2, 4))
    for number in (1, 2, 4):
        same(lambda n=number: hosts[n].linkspan("mesh", "authority").out.splitlines()[1:], [], "all have the same")
        kept = sorted(path.name for path in (hosts[number].data_root / "mesh").rglob("authority-*"))
        assert kept == [f"authority-{before + 1}"] and not (hosts[number].data_root / "mesh/ca.key").exists()
    same(lambda: hosts.voters(4), ["h1", "h2", "h4"], "three have a vote")
    assert reaches(hosts, 2, 1, "c-h1")


def a_host_is_lost(hosts: Mesh) -> None:
    token = hosts[2].linkspan("mesh", "token").out.strip()
    refused = hosts[2].linkspan("mesh", "forget", "h3", status=1)
    assert "host h3 answers: stop its linkspand first, or use --force" in refused.err
    assert "linkspan mesh forget" in hosts[2].linkspan("host", "rm", "--force", "h3", status=1).err
    stolen = hosts.folder / "stolen"
    shutil.copytree(hosts[3].data_root / f"mesh/authority-{authority_of(hosts[3])}", stolen)
    for number in (1, 2):
        until(lambda n=number: believes_a_thief(hosts[n], stolen), "who has the key is believed")
    hosts[2].linkspan("mesh", "forget", "--force", "h3")
    until(lambda: believes_itself(hosts[1]) or believes_itself(hosts[2]), "the others go on: with two, one has a vote")
    assert not believes_a_thief(hosts[1], stolen) and not believes_a_thief(hosts[2], stolen)
    one_authority_is_in_force(hosts, (1, 2))
    assert reaches(hosts, 2, 1, "c-h1")
    assert hosts[1].linkspan("mesh", "token").out.strip() != token
    same(lambda: {h["Name"] for h in hosts[1].request("GET", "/hosts")[1]}, {"h1", "h2"}, "h1 knows who is there")
    hosts.plug(4)
    shutil.rmtree(hosts[4].data_root)  # another machine of that name
    hosts.join(4, at=2)
    same(lambda: hosts.voters(4), ["h1", "h2", "h4"], "another host has the vote")
    until(lambda: not hosts[3].usable(), "who was taken out does not reach the store")
    hosts[3].end()
    hosts[3].start()
    assert not store_of(hosts, 3) and hosts[3].request("GET", "/mesh/token")[0] == 409
