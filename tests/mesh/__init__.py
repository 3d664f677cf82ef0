"""Meshes from outside: real hosts, which begin one, join it, leave it and come back.

place  the hosts, and what may be done to them
"""
