"""Handing out what is scarce. Everything here is a pure function of what is held already.

pools       subnets for networks that name none
addresses   addresses from a network's pools
segments    which of a network's bridges an endpoint is on
ports       host ports
flannel     which subnet of a flannel network is this host's
names       MAC addresses and interface names, derived
"""
