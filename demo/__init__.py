"""The talk's scenario, typed into a real client, against real databases, on test hosts of its own.

The map:

__main__    the command line of the single-host scenario
alone       one run at a time, ended in order
play        how a demo goes: starts, runs the sections, sums up, cleans up
section*    the scenario, one file a section: steps as data, with their checks
afterwards  the last step of each section
settings    NetworkSettings, as the talk lists them
step        what a step is, and how it is run and told
stage       what the steps act on: hosts, daemons, clients
seat        a host with a daemon in it
daemons     the daemon under the scenario
client      the client that the commands are typed into: docker, or linkspan
hosts       test hosts: network namespaces on a fabric
etcd        etcd in test hosts, and their certificates
ovs         Open vSwitch in test hosts
cluster     the demo of many hosts
sweep       what a run may have left, found and removed
images      where the images come from; builds them from Debian packages
layers      image layers and manifests from directories
registry    Debian's docker-registry, as a process of ours
probe       asks a port, or answers, inside a host; answer.pl the same inside a container
console     what the reader sees
"""
