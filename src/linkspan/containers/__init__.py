"""The life of a container, as pure functions.

create      from a request and an image to a record
mounts      binds, volumes and tmpfs, parsed and resolved
names       names for containers whose creator gives none
lifecycle   the state table, and what restart policies say
boot        the order in which containers start by themselves
signals     by name or number
files       /etc/hosts, /etc/resolv.conf and /etc/hostname of a container
filter      `docker ps --filter`
"""
