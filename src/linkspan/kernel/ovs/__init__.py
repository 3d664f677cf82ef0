"""The host's Open vSwitch, which the administrator runs: bridges and ports of ours in it, by its database.

database  its database, by JSON-RPC over a unix socket (RFC 7047): transactions, and a copy of the rows
rows      what the tables hold, as typed values
switch    objects of ours made, changed, removed and read back
writing   the transactions that this takes
uplink    the few flows of the bridge that holds a network card in user space
probe     whether the kernel has a data path for it
"""
