"""The vocabulary of kernel objects: what there should be, as values; the difference, its order and its undoing.

objects   Namespace, Bridge, Veth, Device, Address, Shaper, Route, Sysctl, NftElement, BoundPort
plan      diff(actual, desired) → Plan, the one place that knows the order of steps; revert(plan)
"""
