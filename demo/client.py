"""The client that the commands are typed into: `docker` where one is installed, or `linkspan`."""

import re
import shutil
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent.parent / ".venv" / "bin"


@dataclass(frozen=True)
class Client:
    """A client by the name that is typed, and the program that it is."""

    name: str
    program: str

    def typed(self, command: str) -> str:
        """The command with this client in docker's place."""
        return re.sub(r"\bdocker (?=[a-z-])", f"{self.name} ", command)


def choose(wanted: str | None) -> Client:
    """The wanted client; docker where none is wanted and one is installed, else linkspan."""
    docker = shutil.which("docker")
    if wanted == "docker" and docker is None:
        raise RuntimeError("CLIENT=docker: there is no docker client on this machine; CLIENT=linkspan needs none")
    if docker is not None and wanted != "linkspan":
        return Client("docker", docker)
    return Client("linkspan", str(HERE / "linkspan"))
