"""The vocabulary of kernel objects: what there should be, as values; the difference, its order and its undoing.

objects     Namespace, Bridge, Joint, Veth, Device, Address, Shaper, Route, Sysctl, NftElement, BoundPort, ForwardAccept
guard       what a sandbox lets in and out
plan        diff(actual, desired) → Plan, the one place that knows the order of steps; revert(plan)
neighbours  other firewalls' chains, and what they do with what is forwarded
host        what decisions need to know of the host
"""
