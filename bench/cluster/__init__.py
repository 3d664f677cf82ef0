"""Ways from one container to another on another host, side by side in one run: `sudo make bench-cluster`.

__main__    arguments, the order of things
ways        the ways: how two ends that talk to each other are made
measure     throughput, round trips and the processors' time, by iperf3 and sockperf
addresses   1,000 containers into exactly 1,000 addresses
results     RESULTS-CLUSTER.md

simulation  1,000 hosts with 50,000 endpoints: python -m bench.cluster.simulation
population  what they publish
writer      worker: writes it, and what changes of it
simulated   worker: a whole host, on a fake kernel
watchers    worker: the watches of the others
"""
