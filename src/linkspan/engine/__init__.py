"""The Container Network Model's verbs as pure functions: (snapshot, request) → records to write.

change     Change: what a decision says should become of the records
networks   create and remove; the default networks
flannels   flannel networks: what their options mean
sublinks   macvlan and ipvlan networks: modes, parents, the host's way in
flat       flat networks: parents, what of the segment is not ours
overlays   overlay and weave networks: their number in the tunnels, and what fits into those
bandwidth  how much of a network a container may use
announce   who tells the neighbours where its address is now
request    what `network create` asks for
configurations  networks that are only a configuration, and those that take one
update     a network changed in place, with containers on it
attachment what a user asks of one attachment: checked, and turned into what the interface gets
links      legacy links on the default bridge
moving     a container on its way to another host: what is to be done at each end
reservations  addresses that belong to an identity, and rest
detection  which addresses are asked for on the wire before they are used
identity   which address and MAC a container gets on a network, and whose they are
join       give a container its sandbox, endpoints and bindings; take them away
publish    ports of a container that is there, published and withdrawn
plugs      interfaces given by hand, and what they stand on
plug_request what pipework's command line asks for
render     from records to kernel objects, all of them or those that a change touches
bgp        what this host announces, to whom, and what it takes from whom
usage      what of the address space is used, and by whom
nat        the published ports and masqueraded subnets as the rows of `iptables -t nat -nL`
"""
