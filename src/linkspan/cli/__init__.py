"""The `linkspan` command: Docker's everyday verbs, and what Docker does not have. It talks only HTTP.

main          finds the verb, imports it, turns errors into words and an exit status
verbs/        one file a verb
flags         flags as Docker's command takes them; help texts
client        HTTP/1.1 over a unix or TCP socket, with streams that take the connection over
address       where the daemon listens, and TLS
streams       attached streams: frames, terminals, detach keys, signals
failure       what ends a command early
configuration the flags of run and create, as the body of POST /containers/create
ports, mounts, attachments, quantities   values of those flags
reference     image names; credentials   what `login` stored for registries
progress      the progress lines of pull, push and load
template      Go templates for --format; table   columns; words   times and sizes as people read them

A command line lives for milliseconds, so modules are imported when a verb needs them and no sooner.
"""
