"""`move`: a stopped container, made anew on another host of the cluster."""

from __future__ import annotations

from linkspan.cli.flags import Invocation, Verb


def run(call: Invocation) -> int:
    container, host = call.arguments
    call.client.post(f"/containers/{container}/move", None, {"Host": host})
    print(container)
    return 0


VERB = Verb(
    "CONTAINER HOST",
    "Make a stopped container anew on another host of the cluster, with its addresses (only in linkspan).",
    run,
    least=2,
    most=2,
    detail=(
        "HOST is a name or an id of `linkspan host ls`. The container is created there as it was here, from an image\n"
        "that is there or can be pulled, and removed here. What it has written itself does not go with it; one with\n"
        "volumes or bind mounts stays where it is."
    ),
)
