"""Handing out what is scarce. Everything here is a pure function of what is held already.

pools       subnets for networks that name none
addresses   addresses from a network's pools
ports       host ports
names       MAC addresses and interface names, derived
"""
