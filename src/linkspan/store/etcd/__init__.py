"""etcd, through its HTTP gateway: what the hosts of a cluster know of each other.

address   where the members are, as the user types it, and the certificates for it
values    keys and values, comparisons, transactions, what a watch tells
contract  what the client promises, and the fake too
wire      the gateway's JSON
trust     certificates, read anew when they change
http      one connection to one member
members   all of them: whom to ask, and what a lost answer means
client    the client
watch     what changes under some prefixes, over whichever member answers
lease     keeping a lease, and saying honestly when it may be lost
fake      a cluster in memory, for tests

JSON and base64 stay in here. Keys are text; what is no UTF-8 in a key of somebody else's comes as surrogates.
"""
