"""Handing out what is scarce. Everything here is a pure function of what is held already.

pools       subnets for networks that name none
addresses   addresses from a network's pools
segments    which of a network's bridges an endpoint is on
ports       host ports
names       MAC addresses and interface names, derived
"""
