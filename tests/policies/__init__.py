"""Policies: what is compiled of them, against what Calico's documentation says they mean.

oracle     what a policy means, read from the documentation and written down naively
generated  policies and places for hypothesis
machine    what the kernel does with the rules of a sandbox, without a kernel
"""
