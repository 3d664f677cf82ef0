"""Many hosts, one network: each driver in turn runs the talk's MySQL on one host and its client on another, by name.

__main__      the command line
stage         three hosts with linkspand and etcd, and a machine outside that runs none of it
images        section 0: the image, pulled on every host
spanning      the steps that every driver has to show, and the sections made of them
rack          a router on top of the rack, which learns by BGP where containers are
flat          the flat network: the outside machine, restart, re-creation and move
table         what each driver was seen to do, side by side
"""
