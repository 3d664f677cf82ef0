"""linkspan flannel: a host's end of a flannel network, without linkspand. This program becomes another one."""

from __future__ import annotations

import os
import subprocess
import sys

from linkspan.cli.flags import Invocation, Verb


def run(invocation: Invocation) -> int:
    command = [sys.executable, "-m", "linkspan.daemon.flannel", *invocation.arguments]
    if not {"--help", "-help", "-h"}.intersection(invocation.arguments):
        os.execv(sys.executable, command)
    print(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout, end="")
    return 0


VERB = Verb("[OPTION]...", "A host's end of a flannel network, for a Docker configured from subnet.env", run, raw=True)
