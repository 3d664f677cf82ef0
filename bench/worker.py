"""A process in a test host that answers calls, so that what is timed there is not also the way in."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from demo.hosts import DYING_WITH_US, Host

CHECKOUT = Path(__file__).parent.parent


class Worker:
    """The caller's side. It ends with its host."""

    def __init__(self, host: Host, module: str, *arguments: str) -> None:
        """Runs `python -m module arguments…` in the host; the module calls `serve`."""
        self._module = module
        self._process = subprocess.Popen(
            [*DYING_WITH_US, *host.enter(CHECKOUT), sys.executable, "-m", module, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
            text=True,
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        )

    def call(self, verb: str, **arguments: Any) -> Any:
        """The verb's answer. Raises RuntimeError with the worker's error."""
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(json.dumps([verb, arguments]) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self._module} has ended with status {self._process.wait()}")
        answer = json.loads(line)
        if "error" in answer:
            raise RuntimeError(f"{self._module}: {verb}: {answer['error']}")
        return answer["result"]


def serve(verbs: Mapping[str, Callable[..., Any]]) -> None:
    """The worker's side: answers calls until the caller is gone."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever prints does not get between the answers
    for line in sys.stdin:
        verb, arguments = json.loads(line)
        try:
            answer: dict[str, Any] = {"result": verbs[verb](**arguments)}
        except Exception:
            answer = {"error": traceback.format_exc()}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()
