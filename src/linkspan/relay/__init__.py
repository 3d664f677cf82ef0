"""The one thing about published ports that the kernel cannot do: from a host's IPv6 address to a container's IPv4 one.

process   the relay: one process, two listening sockets, for however many ports; a program of its own that imports
          nothing of linkspan, so that it is small, and outlives the daemon
"""
