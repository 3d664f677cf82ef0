"""This host's part in its mesh: hosts that find each other, and run the cluster's store among themselves.

contract      what is needed of the fabric below, which makes the hosts' addresses in the mesh reachable
kept          what this host keeps of the mesh on its disk, so that it needs nobody's word to come back
certificates  the mesh's authority, and the certificates that hosts show each other
credentials   which authority is in force here, and the certificate that this host shows
messages      what a host that wants to join, or wants the authority, and one of the mesh say to each other
asking        the side that wants in
admission     the side that lets in
seat          this host's member of the store: its process, its data
assembly      who of the hosts has one: what is decided in `engine/mesh/members.py`, carried out
rotation      another authority in the place of the one in force
mesh          all of it together, and the verbs
fabric        what carries the mesh: links, WireGuard and babeld, looked after
outer         the host's own network under it
babel         what babeld says at its socket
mending       babeld's routes, put back

The decisions are in `engine/mesh/`.
"""
