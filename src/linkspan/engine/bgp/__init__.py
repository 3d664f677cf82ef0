"""This host's BGP: what it announces, to whom, and what it takes from whom. All of it is rendered from the records.

resources   what users say of it, as the rest reads it
neighbours  whose peers this host is: of the mesh, of route reflectors, of routers outside
plan        the whole of it as values, or nothing where nobody needs it
bird        the same as a configuration of BIRD 2
frr, gobgp  the same for those that an administrator runs
words       what BIRD says of its sessions
"""
