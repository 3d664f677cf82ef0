"""Other firewalls on this host: what they do with what is forwarded, said in the log and in `docker info`."""

from __future__ import annotations

import logging

from linkspan.daemon.programmer import Programmer
from linkspan.state.neighbours import Dropping, Neighbours

log = logging.getLogger(__name__)


class Neighbourhood:
    def __init__(self, programmer: Programmer, *, accept: bool) -> None:
        """`accept`: a rule of ours is to be where others drop what is forwarded (--forward-accept)."""
        self._programmer, self._accept = programmer, accept
        self.now = Neighbours()

    async def look(self) -> bool:
        """Looks, says what is new, and answers whether there is something to do."""
        before, self.now = self.now, await self._programmer.run(lambda kernel: kernel.neighbours())
        known, found = set(before.dropping), set(self.now.dropping)
        for item in self.now.dropping:
            if item not in known:
                log.warning("%s", self._hint(item))
        still = {item.accept for item in found}
        for item in before.dropping:
            if item.accept not in still:
                log.info("%s does not drop what is forwarded any more", item.accept)
        wanted = {item.accept for item in found if self._accept and not item.refused}
        return self.now.accepting != wanted or self.now.guarded != before.guarded

    def rows(self) -> list[list[str]]:
        """For `docker info`, what is in order: name and value."""
        return [["ForwardAccept", str(item)] for item in self.now.dropping if self._accept and not item.refused]

    def warnings(self) -> list[str]:
        """For `docker info`, what is not."""
        return [f"WARNING: {self._hint(item)}" for item in self.now.dropping if not self._accept or item.refused]

    def _hint(self, item: Dropping) -> str:
        if not self._accept:
            return (
                f"another firewall drops what is forwarded, containers' traffic too: {item}; "
                "--forward-accept=true lets ours pass"
            )
        if item.refused:
            return (
                f"another firewall drops what is forwarded, containers' traffic too: {item}; a rule that lets ours "
                f"pass could not be put there: {item.refused}"
            )
        return (
            f"another firewall drops what is forwarded: {item}; a rule with the comment linkspan lets our networks' "
            "traffic pass there (--forward-accept=false takes it away)"
        )
