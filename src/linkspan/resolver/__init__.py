"""Names: a DNS server at 127.0.0.11 in every sandbox on a user-defined network, as a process of its own.

The daemon feeds it what there is to know, by difference (`state/names.py`); it goes on answering when the daemon is
gone, and is found by the next one at a socket in the exec-root.

wire      DNS messages as bytes; pure
zone      who may see which name from which sandbox; pure
messages  what daemon and process say to each other
feed      the daemon's side: starts the process, keeps it fed, and replaces it
process   the process: carries out what the daemon says
server    the process: sockets in the sandboxes, and answers
streams   the process: questions that come by TCP
forward   the process: names that are not ours, asked of other servers
upstream  the process: which servers those are
"""
