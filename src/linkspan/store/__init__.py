"""Where records are kept. Every store gives the same two things: `load`, and `commit` of a set of writes at once.

sqlite   the default: an acknowledged change survives a kill and a power cut
memory   for tests

Another thing is `etcd`: what the hosts of a cluster know of each other.
"""
