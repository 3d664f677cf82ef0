"""`port`: where the ports of a container are published."""

from __future__ import annotations

from linkspan.cli.failure import Failure
from linkspan.cli.flags import Invocation, Verb
from linkspan.cli.ports import address


def run(call: Invocation) -> int:
    name = call.arguments[0]
    container = call.client.get(f"/containers/{name}/json")
    ports = (container.get("NetworkSettings") or {}).get("Ports") or {}
    if len(call.arguments) > 1:
        asked = call.arguments[1]
        number, _, protocol = asked.partition("/")
        wanted = f"{number}/{protocol or 'tcp'}"
        if not number.isdigit() or int(number) > 65535:
            raise Failure(f'Error: invalid port ({number}): strconv.ParseUint: parsing "{number}": invalid syntax')
        bindings = ports.get(wanted)
        if not bindings:
            raise Failure(f"Error: No public port '{asked}' published for {name}")
        lines = [address(binding) for binding in bindings]
    else:
        lines = [
            f"{port} -> {address(binding)}"
            for port in sorted(ports, key=lambda port: (int(port.partition("/")[0]), port))
            for binding in ports[port] or []
        ]
    print("".join(f"{line}\n" for line in lines), end="")
    return 0


VERB = Verb(
    "CONTAINER [PRIVATE_PORT[/PROTO]]",
    "Show where a container's ports are published on this host.",
    run,
    least=1,
    most=2,
)
