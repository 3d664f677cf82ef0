"""The fabric of one host, without a daemon: run in a test host, it does what it is told, a line of JSON at a time.

    {"do": "start", "own": MeshIdentity}    {"do": "peers", "peers": [MeshPeer…]}    {"do": "end"}
    {"do": "status"}

answered by {"error": …} or {"result": …}. First it says its process id. At the end of its input it lets go, as a daemon
does.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

import msgspec

from linkspan.daemon.mesh.fabric import MeshFabric
from linkspan.daemon.programmer import Programmer
from linkspan.engine.mesh.fabric import render_fabric
from linkspan.errors import LinkspanError
from linkspan.kernel.linux import LinuxKernel
from linkspan.model.mesh import MeshIdentity, MeshPeer
from linkspan.state.fabric import FabricFacts
from linkspan.state.objects import state_of
from linkspan.state.plan import diff


async def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    programmer = Programmer(lambda: LinuxKernel(folder / "netns"))

    async def program(before: FabricFacts | None, after: FabricFacts | None) -> None:
        old, new = (state_of(render_fabric(facts)) if facts else {} for facts in (before, after))
        await programmer.run(lambda kernel: kernel.apply(diff(old, new)))

    fabric = MeshFabric(folder / "data", folder / "run", programmer, program)

    async def do(asked: dict[str, Any]) -> Any:
        match asked["do"]:
            case "start":
                return msgspec.to_builtins(await fabric.start(msgspec.convert(asked["own"], MeshIdentity)))
            case "peers":
                return await fabric.peers(msgspec.convert(asked["peers"], list[MeshPeer]))
            case "end":
                return await fabric.end()

    reader = asyncio.StreamReader(limit=1 << 20)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    print(os.getpid(), flush=True)
    while line := await reader.readline():
        try:
            answer = {"result": await do(json.loads(line))}
        except LinkspanError as error:
            answer = {"error": str(error)}
        print(json.dumps(answer), flush=True)
    await fabric.close()
    programmer.close()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
