"""What a network is made of, one file a driver. A driver renders: from records to the kernel objects there should be.

It has no teardown. Removing something is rendering without it; the difference is applied.

available  all of them, by name
contract   what every driver promises, and the optional abilities
bridge     a Linux bridge, veth pairs, NAT: Docker's default
overlay    bridges of many hosts, joined by VXLAN tunnels
weave      the same, and what is for nobody in particular goes to every host
ovs        bridges of Open vSwitch, and tunnels between hosts
sublink    macvlan and ipvlan: interfaces of the containers' own on one of the host's
flat       the host's own segment: containers with addresses of the data centre's, in three ways
plug       interfaces given by hand, on no network
inside     what each of them gives a sandbox's interface
flannel    a host's part of a flannel network: tunnels and routes to other hosts' subnets
host       the host's own namespace: nothing to make
null       a namespace with nothing but lo
"""
