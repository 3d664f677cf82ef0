"""A cluster from outside: three real hosts with linkspand and etcd on one fabric, and a machine that runs none of it.

place     the hosts, what runs in them, and what may be done to them
left      what is there on every host and in etcd, to be the same before and after each test
probes    packets of any size between namespaces
reaches   who reaches whom, driver by driver
"""
