"""linkspan: a container network engine.

The map, top to bottom; an import goes downwards only (import-linter holds that):

main        the composition root of linkspand
api, cli    front doors: Docker's HTTP API; the `linkspan` command
daemon      joins those who decide to those who do; owns the loop
engine, containers                  decide: pure functions from (snapshot, request) to Change
store, kernel, runtime              do: SQLite, rtnetlink and nftables, runc and conmon and skopeo
drivers, ipam                       render networks and endpoints; allocate addresses, ports, names
state       the vocabulary of kernel objects, with diff, order and revert
model       the nouns
errors      the ten ways in which a request can fail
"""

__version__ = "0.1.0"
