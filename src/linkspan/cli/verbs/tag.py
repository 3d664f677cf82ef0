"""`tag`: another name for an image."""

from __future__ import annotations

from linkspan.cli.failure import Failure
from linkspan.cli.flags import Invocation, Verb
from linkspan.cli.reference import Reference


def run(call: Invocation) -> int:
    source, target = call.arguments
    try:
        reference = Reference(target)
    except Failure as failure:
        raise Failure(f'Error parsing reference: "{target}" is not a valid repository/tag: {failure}') from None
    call.client.call("POST", f"/images/{source}/tag", {"repo": reference.name, "tag": reference.tag or "latest"})
    return 0


VERB = Verb("SOURCE_IMAGE[:TAG] TARGET_IMAGE[:TAG]", "Give an image another name.", run, least=2, most=2)
