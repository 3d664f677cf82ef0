"""What is decided for a mesh, without doing any of it.

guessing   who may try tokens, and how often
addresses  which addresses a host has in the mesh, and where it may be reached below it
entry      whether a host may join, and as what it is entered
members    which of the hosts have a member of the store
fabric     what carries it: kernel objects, and the configurations of WireGuard and babeld
"""
