"""flannel: leases in the cluster's store, and what is made of them on this host.

registry   flannel's keys in etcd, as flanneld writes them
keeper     this host's lease, held; and everybody else's
place      where this host is reached, and what it says of itself in its lease
tunnel     the udp backend's process, kept running and told of every host
flags      flanneld's flags and its environment
networks   the flannel networks of a cluster: leases become records
agent      `linkspan flannel`: all of it by itself, for a host whose Docker is configured from subnet.env
"""
