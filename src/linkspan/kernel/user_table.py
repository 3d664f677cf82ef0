"""The nft table `inet linkspan-user`: the administrator's, so that we only ever add what is missing of its skeleton.

It is a plain table, which anybody may edit, flush or delete. What is there is never changed: a chain that exists is
the administrator's, whatever is in it.
"""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable
from importlib import resources

from linkspan.kernel import elements
from linkspan.kernel.failure import explain
from linkspan.kernel.libnftables import NftError
from linkspan.kernel.netlink import NetlinkSocket
from linkspan.kernel.ruleset import parse

log = logging.getLogger(__name__)

TABLE = "linkspan-user"
SKELETON = parse(resources.files("linkspan.kernel").joinpath("user.nft").read_text(), TABLE)


def missing(reader: NetlinkSocket) -> str:
    """The commands that complete the skeleton; "" where nothing is missing. Rules come with their chain only."""
    try:
        chains, sets = elements.chains(reader, TABLE), elements.sets(reader, TABLE)
    except OSError as error:
        if error.errno != errno.ENOENT:
            raise explain(error, f"read nft table inet {TABLE}") from error
        chains, sets = [], []
    new = [name for name in SKELETON.chains if name not in chains]
    commands = [command for name, command in SKELETON.sets.items() if name not in sets]
    commands += [SKELETON.chains[name] for name in new]
    commands += [rule for name in new for rule in SKELETON.rules.get(name, ())]
    return "\n".join([f"add table inet {TABLE}", *commands, ""]) if commands else ""


def complete(reader: NetlinkSocket, run: Callable[[str], object]) -> None:
    """Adds what is missing by `run`, in one transaction. Where the administrator's own objects do not go with ours (a
    set `allowed` of another type), the table is left as it is, and that is said."""
    if commands := missing(reader):
        try:
            run(commands)
        except NftError as error:
            log.error("nft table inet %s is left as it is: what linkspan would add to it fails: %s", TABLE, error)
