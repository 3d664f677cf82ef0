"""weave in a mesh that encrypts: hosts that find each other by a token, and a link that is pulled while two talk."""

import threading

from demo.cluster.spanning import address, section
from demo.cluster.stage import ADDRESSES
from demo.stage import Stage
from demo.step import Output, Section, Step, prints, require, succeeded

_PULLED_AFTER = 3.0  # seconds
_QUESTIONS = 60  # five a second
# All in one connection, which must live through it.
_TALK = (
    f"for i in $(seq {_QUESTIONS}); do echo 'SELECT CONNECTION_ID(), SLEEP(0.2);'; done | "
    "docker exec -i client mysql -h mysql -uroot -p123456 -N"
)


def _mesh(stage: Stage) -> None:
    """The hosts leave their cluster, and become a mesh: it has no etcd but what linkspan runs."""
    for where, seat in stage.seats.items():
        stage.stop_daemon(where)
        # wireguard-go is spoken to in a folder of the machine's that the test hosts would share.
        seat.host.run(["mkdir", "-p", "/var/run/wireguard"])
        seat.host.run(["mount", "-t", "tmpfs", "none", "/var/run/wireguard"])
    first, *others = ADDRESSES
    stage.start_daemon("--mesh", where=first)
    token = stage.output("linkspan mesh token", first)
    for where in others:
        stage.start_daemon("--mesh", "--join", ADDRESSES[first], "--token", token, where=where)


def _directly(stage: Stage, output: Output) -> str:
    """And in a few seconds the link between h1 and h2 is pulled."""
    succeeded(output)
    require("WireGuard" in output.out, output.out)
    for host in ("h1", "h3"):
        prints(rf"{host} .* direct ")(stage, output)
    threading.Timer(_PULLED_AFTER, stage.fabric.part, [("h1", "h2")]).start()
    return f"h1 and h3 directly; in {_PULLED_AFTER:.0f} s the link to h1 is pulled"


def _talked(stage: Stage, output: Output) -> str:
    succeeded(output)
    answers = output.out.split("\n")[:-1]
    require(len(answers) == _QUESTIONS and len(set(answers)) == 1, output.both)
    return f"{len(answers)} answers in one connection, to {address(stage, 'mysql', 'h1')}"


def _again(stage: Stage, output: Output) -> str:
    seen = prints(r"h1 .* through h3 ")(stage, output)
    stage.fabric.part()
    return seen


_PULLED = (
    Step(
        "linkspan mesh status",
        "h2 reaches the others directly, encrypted by WireGuard",
        _directly,
        where="h2",
        within=30,
        claim="encrypted",
    ),
    Step(_TALK, "a connection lives on while its link is pulled", _talked, where="h2", claim="a link pulled"),
    Step("linkspan mesh status", "and now goes through h3", _again, where="h2", within=5),
)

SECTIONS: tuple[Section, ...] = (section("weave", "--subnet 10.93.0.0/24", before=_mesh, more=_PULLED),)
