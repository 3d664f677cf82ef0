"""This host's part in its cluster.

publisher   what this host says of itself, made as its records say: transactions whose guards keep hosts apart
follower    what the others say, as records of ours
liveness    the lease that says that this host answers, and whose answers
joining     who this host is: its id, where the others reach it, and whether the store is ours to use
cluster     the four together, and what is told of them

While the store cannot be reached, everything that is there goes on. What this host does alone it does; what would claim
something is refused; what gives something back is told once the store is there again, as the difference between what is
published and what should be.
"""
