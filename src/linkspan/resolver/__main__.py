"""`python -m linkspan.resolver NAMESPACES LISTENER`: goes on in a process that is nobody's child."""

import os
import sys

if os.fork():
    os._exit(0)  # at once, as somebody waits for it, and the import takes a while

from linkspan.resolver.process import main

main(*sys.argv[1:])
