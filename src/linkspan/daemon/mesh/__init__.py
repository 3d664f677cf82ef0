"""This host's part in its mesh: hosts that find each other, and run the cluster's store among themselves.

contract  what is needed of the fabric below, which makes the hosts' addresses in the mesh reachable
"""
