"""The kernel's side: what `state/` describes, made and read back.

contract    Kernel, the protocol; Interface, RouteEntry, EphemeralPorts, Statistics: facts of a host
linux       LinuxKernel: takes a plan's steps in order, undoes them when one fails
steps       which steps of a plan go together, and what they are called in errors
netlink     messages and attributes, packed and parsed; a socket that matches answers by sequence number
rtnetlink   links and addresses
links       bridges and what joins them, veth pairs, devices, tunnels
nics        the host's network cards, moved into sandboxes and home; wireless, with their radio
devices     modes of macvlan and its like, a tunnel's ends, as attributes
enslaving   an interface of the host's own in a bridge of ours; moving, what it has on the way there and back; detour,
            what comes in meanwhile
proxies     addresses that the host answers for
probe       asking a wire who has an address
rows        what there may be thousands of: routes; forwarding, neighbours and forwarding entries
shaping     token buckets
failure     from errno to our kinds of error
namespaces  network namespaces as files in a folder
claim       the name by which a second daemon finds the first
nftables    one table; ruleset.nft is its static part, with every set explained, which libnftables loads
libnftables the library; ruleset takes our .nft files apart
user_table  the administrator's table, whose skeleton (user.nft) is completed
neighbours  other firewalls' chains, and our accepting rule in them
elements    the elements of our sets, written and read back by netlink
announce    gratuitous ARP and neighbour advertisements, as frames
conntrack   UDP connections, forgotten when their port moves
ports       host ports, reserved by bound sockets
sysctl      settings, in any namespace
guards      what policies let in and out of sandboxes; kernel_log, whether what they log is shown
watch       what of ours somebody else took away; inner, inside sandboxes; drift, what no event tells of
fake        the same contract in memory

How a daemon with an empty memory knows what is ours: namespaces by their folder, links by the alias `linkspan:…`,
addresses, routes and neighbours by their protocol number (76), forwarding entries by being on a tunnel of ours,
elements by the table's name, rules in others' chains by their comment. Sysctls belong to nobody.
"""
