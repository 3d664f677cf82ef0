"""`bandwidth`: how much of a network a container may use, changed while it runs."""

from __future__ import annotations

from linkspan.cli.flags import Invocation, Verb


def run(call: Invocation) -> int:
    container, network, rate, burst = (*call.arguments, "")[:4]
    asked = {"Network": network, "Rate": "" if rate == "none" else rate, "Burst": burst}
    told = call.client.post(f"/containers/{container}/bandwidth", None, asked)
    print(f"{told['Rate']} bit/s each way, bursts of {told['Burst']} bytes" if told["Rate"] else "no limit")
    return 0


VERB = Verb(
    "CONTAINER NETWORK RATE [BURST]",
    "Limit what a container sends and receives on a network (only in linkspan).",
    run,
    least=3,
    most=4,
    detail=(
        "RATE is in bits a second, as tc has it: 10mbit, 500kbit, 1gbit; or none. BURST is what may go at once\n"
        "after a pause: 32kb, 1mb. It holds at once, and when the container is started again."
    ),
)
