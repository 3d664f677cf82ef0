"""Measures linkspan beside its peers in one run: `sudo make bench` writes RESULTS.md with medians and ratios.

Everything runs in test hosts (demo.hosts), so nothing is made in the machine's own network, and all of it ends with
the run.

__main__          arguments, the order of things, what is left at the end
rows              medians, and a measured row with its budget
results           RESULTS.md, and the description of the machine
peers             Debian's docker.io and containerd, unpacked below a folder rather than installed
place             the run's folder, what may be left of it, and the check that nothing is
worker            a process in a test host that answers calls, and times what it does there
attach_linkspan   worker: our engine as the daemon wires it, without HTTP and without containers
attach_netavark   worker: podman's netavark
attach_cni        worker: the CNI bridge, host-local and portmap plugins
daemons           linkspand and dockerd in test hosts, their API and the docker client
memory            what the processes of a test host hold
engine            rows: attach and publish, ports that are there already, the 1,000th endpoint
running           rows: docker run
ports             rows: many ports at once
footprint         rows: memory, idle and per container
traced            linkspand with a stopwatch around its phases
profile           --profile-run: where the time of one docker run goes
"""
