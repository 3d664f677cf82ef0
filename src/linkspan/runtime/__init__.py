"""Containers as processes on root file systems: runc runs them, conmon watches them.

attachment   one client's connection to a process's standard streams
spec         the OCI runtime spec of a container: process, namespaces, mounts (pure)
capabilities, resources, seccomp    parts of it: names, limits and devices, system calls
users        --user and --group-add, looked up in the container's files
host_facts   what the host gives to every spec; its device nodes
processes    conmon and runc: create, start, signal, exec, attach
conmon       how conmon is started, its pipes, its attach socket
exits        the end of each process, told once
cgroups      where a container's control groups are; who is in them; freezing
inotify      the kernel's word that a file changed
logs         conmon's log file, read as Docker's
stats        cgroup files as Docker's numbers
dhcp         DHCP clients in a container's network: how each is started, what it says
inside       programs of the host, run in a container's network namespace
top          a container's processes as the host's ps shows them
images       registries, the store of blobs and layers, load and save (a package)
rootfs       overlay mounts on the layers
layers       what an image's layers hold together, looked up without a mount
volumes      the directories of volumes
archive      files in and out of a root file system: cp, export, diff
confinement  starts `confined`, the process with its root directory in the tree that it reads or writes
"""
