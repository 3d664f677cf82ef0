"""`linkspan flannel` from outside: three hosts without linkspand, etcd, and a machine that knows nothing of it.

flanneld itself cannot be built here; what it would have written is in the tests as bytes.
"""
