"""Docker's Engine API over HTTP: the front door of every client. Parses into typed requests, prints typed answers.

server        listeners (unix, TCP, socket activation) and the set of open connections
connection    one client's connection: HTTP/1.1 by h11, bodies, chunked streams, taking the connection over
http          requests and answers as values
routes        the table of paths; errors → statuses
versions      the API's versions, and what the newest ones have left behind
routes_*      one file a noun: what each path reads, which verb of the daemon it calls, what it answers
json_*        one file a noun: views as Docker prints them
parse         bodies and query values into model types
older         what is asked for as older versions of the API have it
filters       Docker's filters on images, networks, volumes and events
streams       framing, detach keys, and the pumps between a client and a process's standard streams
times         Docker's time stamps, spans and ages
"""
