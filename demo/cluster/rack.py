"""calico behind a router on top of the rack, which learns by BGP where containers are (FRR), and a machine behind that:
it runs nothing of ours, and reaches the talk's MySQL by the container's own address, wherever it is moved."""

import shutil
import subprocess
from pathlib import Path

from demo.cluster.spanning import made
from demo.cluster.stage import ADDRESSES, ClusterStage
from demo.hosts import DYING_WITH_US, Host
from demo.seat import REGISTRY
from demo.section1_reached import STARTING, mysql
from demo.stage import OUTSIDE_ADDRESS, Stage
from demo.step import Output, Section, Step, Unsupported, prints, prints_an_id, prints_exactly, works

BEHIND = "192.0.2.10"
_GATEWAY = "192.0.2.1"
_MYSQL = "10.79.0.10"
_ASN = 65001
_FRR = Path("/usr/lib/frr")
# Without data of its own, which would not move with it.
_SERVER = (
    f"docker run -d --name mysql --net=city --ip {_MYSQL} --tmpfs /var/lib/mysql -e MYSQL_ROOT_PASSWORD=123456 "
    f"{REGISTRY}/mysql"
)
_PEER = (
    "echo '{apiVersion: projectcalico.org/v3, kind: BGPPeer, metadata: {name: rack}, spec: "
    f"{{peerIP: {OUTSIDE_ADDRESS}, asNumber: {_ASN}}}}}' | linkspan policy apply -f -"
)


def _configuration() -> str:
    """The router's: it is told nothing of containers, only who the hosts are."""
    neighbours = "".join(
        f" neighbor {address} remote-as 64512\n neighbor {address} timers connect 1\n" for address in ADDRESSES.values()
    )
    return (
        f"router bgp {_ASN}\n no bgp ebgp-requires-policy\n no bgp network import-check\n{neighbours}"
        " address-family ipv4 unicast\n  network 192.0.2.0/24\n"
    )


def _begin(stage: Stage) -> None:
    """The machine outside becomes a router, with one machine behind it."""
    assert isinstance(stage, ClusterStage)
    router = stage.outside
    behind = stage.machines["behind"] = Host("behind")
    enter = ["nsenter", f"--target={router.pid}", "--net", "--"]
    pair = ["ip", "link", "add", "down0", "type", "veth", "peer", "name", "eth0", "netns", str(behind.pid)]
    subprocess.run([*enter, *pair], check=True)
    for host, command in (
        (router, f"ip address add {_GATEWAY}/24 dev down0"),
        (router, "ip link set down0 up"),
        (router, "sysctl -qw net.ipv4.ip_forward=1"),
        (behind, f"ip address add {BEHIND}/24 dev eth0"),
        (behind, "ip link set eth0 up"),
        (behind, f"ip route add default via {_GATEWAY}"),
    ):
        host.run(command.split())
    folder = stage.folder / "frr"
    folder.mkdir()
    (folder / "bgpd.conf").write_text(_configuration())
    (folder / "zebra.conf").touch()
    if not _FRR.exists():
        return
    shutil.chown(folder, "frr", "frr")  # whom they become
    for program in ("zebra", "bgpd"):
        where = ["-i", f"{folder}/{program}.pid", "-z", f"{folder}/zserv", "--vty_socket", str(folder)]
        words = [f"{_FRR}/{program}", "-A", "127.0.0.1", "-P", "0", "-f", f"{folder}/{program}.conf", *where]
        router.start([*DYING_WITH_US, *words], log=folder / f"{program}.log")


def _end(stage: Stage) -> None:
    router = stage.outside
    router.run(["pkill", "-x", "zebra|bgpd"], check=False)  # of that machine's processes
    router.run(["ip", "link", "delete", "down0"], check=False)
    stage.machines.pop("behind").end()
    shutil.rmtree(stage.folder / "frr")


def _made(stage: Stage, output: Output) -> str:
    if not _FRR.exists():
        raise Unsupported("FRR is not installed")
    return made(stage, output)


def _way(where: str, claim: str) -> Step:
    return Step(
        f"ip route get {_MYSQL}",
        f"the router leads to {where}, by BGP",
        prints(rf"^{_MYSQL} via {ADDRESSES[where]} dev eth0"),
        where="outside",
        within=40,
        vital=True,
        claim=claim,
    )


def _reached(claim: str) -> Step:
    return Step(
        mysql("SELECT USER()", _MYSQL),
        "a machine behind the router reaches it by its own address, and is seen as itself",
        prints_exactly(f"root@{BEHIND}"),
        where="behind",
        within=STARTING,
        claim=claim,
    )


SECTION = Section(
    0,
    "calico, behind a router",
    (
        Step(
            "docker network create -d calico --subnet 10.79.0.0/16 -o encapsulation=never city",
            "the network's id",
            _made,
            where="h1",
            vital=True,
        ),
        Step(_PEER, "the router is every host's peer", prints("created"), where="h2", vital=True),
        Step(_SERVER, "MySQL runs on h1: the container's id", prints_an_id, where="h1", vital=True),
        Step("docker port mysql", "nothing is published", prints_exactly(""), where="h1"),
        _way("h1", "a router learns the way"),
        _reached("reached from behind it"),
        Step("docker stop -t 5 mysql", "it is stopped", prints_exactly("mysql"), where="h1"),
        Step("linkspan move mysql h2", "and moved to h2", prints_exactly("mysql"), where="h1", vital=True),
        Step("docker start mysql", "where it starts", prints_exactly("mysql"), where="h2", within=10, vital=True),
        _way("h2", "learns the new one, once it is moved"),
        _reached("reached from behind, once it is moved"),
        Step("linkspan bgp status", "h2 has the router for a peer", prints(r"rack .*[Ee]stablished"), where="h2"),
        Step("linkspan policy delete bgppeer rack", "the peer goes", prints("deleted"), where="h3"),
        Step("docker rm -f -v mysql", "the name", works, where="h2"),
    ),
    before=_begin,
    after=_end,
)
