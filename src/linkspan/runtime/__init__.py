"""Containers as processes on root file systems: runc runs them, conmon watches them, skopeo brings their images.

attachment   one client's connection to a process's standard streams
spec         the OCI runtime spec of a container: capabilities, mounts, limits, seccomp (pure)
processes    conmon and runc: create, start, signal, exec, attach, exit
logs         conmon's log file, read as Docker's
stats        cgroup files as Docker's numbers
images       skopeo, the layer store, references (a package)
rootfs       overlay mounts on the layers
volumes      the directories of volumes
archive      files in and out of a root file system: cp, export, diff
"""
