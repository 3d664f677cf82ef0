"""The nouns, as frozen values: what a user asks for, and what the store records.

container   Container, its configuration and state; requests of the container verbs
network     Network, its pools and options
endpoint    Endpoint, Sandbox, Binding: the Container Network Model's other nouns
plug        Plug: an interface given to a container by hand
port        container ports and port requests, parsed from Docker's forms
mount       where a container's files come from
volume      named and anonymous volumes
image       image references and what an image says of itself
subnet      the subnets that the hosts of a network have, one each
flannel     flannel's configuration, leases and subnet.env
selector    Calico's selectors: whom by labels
resource    Calico's v3 resources: what they have in common
policy      policies, tiers, sets of addresses, interfaces of hosts
bgp         who is whose BGP peer, and what they tell each other
selections  whom the selectors of policies select: an index
ippool      how a network's addresses are given out and reached, and which are kept
event       what happened, as clients of /events read it
pages       sets of numbers of which the lowest free one is wanted
claims      what containers were given by hand: theirs while they exist
resting     addresses that were given back, and whose they were
snapshot    every record at one moment, with the indexes that decisions need

Structs that a Docker client sends or reads carry Docker's field names on the wire (`rename="pascal"`), so that JSON is
parsed once, at the edge, straight into these types.
"""
