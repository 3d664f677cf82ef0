"""This host's BGP: a BIRD that is given its configuration and looked after, or the files for somebody else's.

bird      the process, and what is said to it over its socket
keeper    what follows from the records, made so: started, told, ended
watch     what becomes of the sessions
status    how it stands, for people
"""
