"""flannel's udp backend: packets between a TUN device and the other hosts, in a process of its own.

process  the whole of it: standard library only, so that it starts quickly and stays small
"""
