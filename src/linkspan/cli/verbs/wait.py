"""`wait`: until containers end."""

from __future__ import annotations

import sys

from linkspan.cli.failure import EngineError
from linkspan.cli.flags import Invocation, Verb


def run(call: Invocation) -> int:
    status = 0
    for name in call.arguments:
        try:
            answer = call.client.post(f"/containers/{name}/wait")
        except EngineError as error:
            print(error, file=sys.stderr)
            status = 1
        else:
            print(answer["StatusCode"], flush=True)
    return status


VERB = Verb("CONTAINER [CONTAINER...]", "Wait until containers end, and print their exit statuses.", run, least=1)
