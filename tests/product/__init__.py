"""The product from outside: a real linkspand in a test host, driven by docker, docker-py and linkspan.

engine    the daemon in a test host, and the clients
place     two hosts on a fabric, the daemon in one of them
image     the small image that everything runs
traces    what is there on the host, to be the same before and after each test
network   sockets in hosts and sandboxes, opened from the test's own process
"""
