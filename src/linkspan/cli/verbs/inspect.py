"""`inspect`: all that the engine knows of an object, as JSON or through a template."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

from linkspan.cli.client import Client
from linkspan.cli.failure import EngineError, Failure
from linkspan.cli.flags import Flag, Invocation, Verb, switch

PATHS = {
    "container": "/containers/{}/json",
    "image": "/images/{}/json",
    "network": "/networks/{}",
    "volume": "/volumes/{}",
    "host": "/hosts/{}",
}
_UNTYPED = ("container", "image", "network", "volume")  # what a bare name is looked for among, in this order


def inspect(kinds: tuple[str, ...]) -> Callable[[Invocation], int]:
    """The function of a verb that looks for names among `kinds`, in that order."""

    def run(call: Invocation) -> int:
        wanted = kinds
        if "type" in call.line.flags and call.line.text("type"):
            wanted = (call.line.text("type"),)
            if wanted[0] not in PATHS:
                known = ", ".join(f'"{kind}"' for kind in sorted(PATHS))
                raise Failure(f'unknown type: "{wanted[0]}": must be one of {known}')
        found: list[Any] = []
        errors: list[str] = []
        for name in call.arguments:
            try:
                found.append(_find(call.client, name, wanted, call))
            except EngineError as error:
                errors.append(str(error))
                if error.http_status != 404:
                    break
            except Failure as failure:
                errors.append(str(failure))
        return _show(found, errors, call.line.text("format"))

    return run


def _find(client: Client, name: str, kinds: tuple[str, ...], call: Invocation) -> Any:
    for kind in kinds:
        query: dict[str, Any] = {}
        if kind == "container" and "size" in call.line.flags:
            query = {"size": call.line.on("size")}
        elif kind == "network" and "verbose" in call.line.flags:
            query = {"verbose": call.line.on("verbose"), "scope": call.line.text("scope") or None}
        try:
            return client.get(PATHS[kind].format(name), query)
        except EngineError as error:
            if error.http_status != 404 or len(kinds) == 1:
                raise
    raise Failure(f"Error: No such object: {name}")


def _show(found: list[Any], errors: list[str], format: str) -> int:
    if format in ("", "json"):
        indent = 4 if not format else None
        separators = None if not format else (",", ":")
        print(json.dumps(found, indent=indent, separators=separators, ensure_ascii=False))
    else:
        from linkspan.cli.template import Template

        template = Template(format.replace("\\t", "\t").replace("\\n", "\n"))
        for value in found:
            try:
                print(template.render(value))
            except Failure as failure:
                errors.append(str(failure))
        if not found:
            print()
    if errors:
        sys.stdout.flush()
        print("\n".join(errors), file=sys.stderr)
    return 1 if errors else 0


_FORMAT = Flag("format", "f", "string", "json, or a Go template ({{.State.Status}})")
_SIZE = switch("size", "s", "Include the sizes of its files")

VERB = Verb(
    "[OPTIONS] NAME|ID [NAME|ID...]",
    "Show everything about containers, images, networks or volumes.",
    inspect(_UNTYPED),
    (_FORMAT, _SIZE, Flag("type", "", "type", "Only look among objects of this type (container, image, …)")),
    least=1,
)
CONTAINER = Verb(
    "[OPTIONS] CONTAINER [CONTAINER...]", "Show everything about containers.", inspect(("container",)),
    (_FORMAT, _SIZE), least=1,
)  # fmt: skip
IMAGE = Verb(
    "[OPTIONS] IMAGE [IMAGE...]", "Show everything about images.", inspect(("image",)),
    (_FORMAT, Flag("platform", "", "string", "Look at the image of this platform")), least=1,
)  # fmt: skip
NETWORK = Verb(
    "[OPTIONS] NETWORK [NETWORK...]", "Show everything about networks.", inspect(("network",)),
    (_FORMAT, switch("verbose", "v", "More, for diagnosis"), Flag("scope", "", "string", "local, swarm or global")),
    least=1,
)  # fmt: skip
VOLUME = Verb(
    "[OPTIONS] VOLUME [VOLUME...]", "Show everything about volumes.", inspect(("volume",)), (_FORMAT,), least=1
)
HOST = Verb(
    "[OPTIONS] HOST [HOST...]", "Show everything about hosts of the cluster (only in linkspan).", inspect(("host",)),
    (_FORMAT,), least=1,
)  # fmt: skip
