"""`linkspan flannel` becomes this program."""

from linkspan.daemon.flannel.agent import main

main()
