"""What policies mean: who may talk to whom, decided in pure functions.

applied  which policies are about an endpoint, in which order
lines    a rule as it is decided by, taken apart; what it says of a packet
chains   the rules of a tier's policies as chains of nftables; what is alike becomes an element of a set
guards   the kernel objects of a sandbox; which sandboxes a change concerns
verdict  what becomes of a packet at one end, and by which rule
host     policies about the hosts' own interfaces; whether they cut hosts off
sides    who is meant by a name or an address: containers, hosts and their interfaces
check    whether one may talk to another, asked by name
"""
