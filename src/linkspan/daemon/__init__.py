"""Joins those who decide to those who do, and owns the loop.

flags          flags and daemon.json: dockerd's names, and how they are read
configuration  what they mean
reload         what a running daemon takes over of a configuration that changed
daemon         the composition: what is made in which order at start, and let go at the end
this_host      what is read of this host, and the drivers that are told of it
ledger         the records: the snapshot of now, and committing to the next
programmer     the kernel thread: applies what differs between two snapshots
host_ports     changes that take host ports, carried out
mutation       one change carried out: intent, effect, or all of it undone
reconcile      at start: what runs, what the kernel holds, and what it should
boot           what starts by itself, in order, when the daemon does
background     what goes on beside everything else: none of it ends unheard
healing        what another program takes away of ours is put back
cluster        this host's part in its cluster
mesh           this host's part in its mesh, where the hosts run the store themselves
bgp            this host's BGP: a BIRD that is given its configuration, or files for others
outliving      a process of ours that outlives the daemon: found again, or started
supervised     the same for programs of others: BIRD, babeld
relay          the one for published IPv6 ports that the kernel cannot translate
names          the resolver follows the records
flannel        a host's end of a flannel network: leases, and `linkspan flannel`
dhcp           DHCP clients for interfaces given by hand
detecting      asking the wire who has an address before a container of ours does
announcing     gratuitous ARP for who has come
neighbourhood  other firewalls, said in the log and in `docker info`
lifecycle      start, stop, exit, restart, removal of containers
launch         from a record to a running process, and back
attachments    clients' connections to standard streams
execs          processes that join a running container
waiting        who waits for a container's end
systemd        what systemd is told
identity       randomness and the clock
sandbox_files  /etc/hosts and its kin, on the disk
events         what happened, kept for a while and told to who listens
moving         a stopped container made anew on another host
reservations   addresses that belong to identities; those whose rest is over, given up
containers, publishing, plugs, networks, images, volumes, system    the verbs, as the front doors call them
views          what the verbs answer
"""
