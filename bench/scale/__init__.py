"""A cluster of 1,000 hosts and 50,000 containers, as far as one machine can show it: real etcd, fake kernels.

publishers   what the hosts publish, in one process: the real publisher of each, over real transactions
follower     one host, whole: the real follower, records in memory, every row rendered into a fake kernel
watchers     the other hosts, as etcd sees them: watches that are read and thrown away
__main__     the run: `.venv/bin/python -m bench.scale --help`
"""
