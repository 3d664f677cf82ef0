"""The last step of each section: containers and networks are removed, and nothing of them is left on any host."""

from demo.afterwards import nothing_left
from demo.cluster.stage import ADDRESSES
from demo.stage import Stage
from demo.step import Output, Step, succeeded


def _nothing_left(stage: Stage, output: Output) -> str:
    succeeded(output)
    stage.clear()
    for where in stage.seats:
        for network in stage.output("docker network ls -q -f type=custom", where).split():
            stage.type(f"docker network rm {network}", where)  # another host may have been quicker
    links = {where: nothing_left(stage, where) for where in stage.seats}
    return f"on {', '.join(ADDRESSES)}: no container, no interface but {', '.join(links['h1'])}, no mount"


REMOVE_EVERYTHING = Step(
    "docker ps -aq",
    "whatever is left of this section is removed on every host, with its interfaces and mounts",
    _nothing_left,
    within=10,
    claim="nothing left",
)
