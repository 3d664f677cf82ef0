"""The last step of each section: its containers are removed, and nothing of them is left on the host."""

from demo.stage import Stage
from demo.step import Output, Step, require, succeeded

_STAYS = {"lo", "eth0", "docker0", "br0", "linkspan-wg", "linkspan-mesh"}


def nothing_left(stage: Stage, where: str = "") -> list[str]:
    """Raises Wrong if a host has containers, or interfaces, mounts or published ports of containers; its interfaces."""
    containers = stage.output("docker ps -aq", where)
    require(containers == "", f"containers: {containers}")
    links = {link["ifname"] for link in stage.links(where=where)}
    require(links <= _STAYS, f"interfaces: {sorted(links - _STAYS)}")
    data_root = f"{stage.seats[where or stage.first].folder}/lib"
    mounts = [line for line in stage.output("cat /proc/self/mounts", where).splitlines() if data_root in line]
    require(not any(line.startswith("overlay") for line in mounts), f"mounts: {mounts}")
    rows = [row for row in stage.output("linkspan nat", where).splitlines() if "DNAT" in row or "dpt:" in row]
    require(not rows, f"NAT rows: {rows}")
    return sorted(links)


def _nothing_left(stage: Stage, output: Output) -> str:
    succeeded(output)
    return f"no container, no interface but {', '.join(nothing_left(stage))}, no mount, no published port"


REMOVE_EVERYTHING = Step(
    "docker ps -aq | xargs -r docker rm -f -v",
    "every container of this section is removed, with its interfaces, mounts and ports",
    _nothing_left,
    within=5,
)
