"""What this host shows others of the mesh, and whom it trusts: the authority that is in force, and its certificate."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from linkspan.daemon.mesh import certificates
from linkspan.daemon.mesh.certificates import Authority
from linkspan.daemon.mesh.kept import Kept
from linkspan.daemon.mesh.seat import Seat
from linkspan.errors import Conflict
from linkspan.store.etcd.address import Tls


class Credentials:
    def __init__(self, kept: Kept, seat: Seat, clock: Callable[[], float], life: float) -> None:
        """`life` is a certificate's, in seconds. Raises Conflict where the authority cannot be read."""
        self._kept, self._seat, self._clock, self._life = kept, seat, clock, life
        self.authority = _read(kept)

    def tls(self) -> Tls:
        kept = self._kept
        return Tls(str(kept.authority), str(kept.certificate), str(kept.key))

    def renew(self) -> bool:
        """Makes a certificate where there is none, or half of its time is over."""
        kept, own = self._kept, self._seat.own
        if kept.certificate.exists():
            _, until = certificates.validity(kept.certificate.read_bytes())
            if until - self._clock() > self._life / 2:
                return False
        made = self._certificate(self.authority)
        # The last one may be valid still.
        self._seat.keep(certificates=(certificates.serial(made), *own.certificates[:1]))
        kept.put(kept.certificate, made)
        return True

    def _certificate(self, authority: Authority) -> bytes:
        own = self._seat.own
        addresses = (own.address, own.address6)
        return authority.host(self._kept.key.read_bytes(), own.host_id, addresses, self._clock(), self._life)

    def left(self) -> float:
        """Seconds until half of the certificate's time is over."""
        since, until = certificates.validity(self._kept.certificate.read_bytes())
        return (max(since, until - self._life) + until) / 2 - self._clock()

    def revoke(self, serials: Sequence[str]) -> None:
        """Certificates with these numbers are worth nothing."""
        if tuple(serials) != self._seat.own.revoked:
            self._kept.put(self._kept.revoked, self.authority.revocations(serials, self._clock()))
            self._seat.keep(revoked=tuple(serials))

    # -- another authority --------------------------------------------------------------------------------------------

    def of(self, number: int) -> Authority | None:
        """One that is in force, or that this host has on its disk for later; None where it has not."""
        try:
            return self.authority if number == self._seat.own.authority else _read(self._kept.of(number))
        except (FileNotFoundError, Conflict):
            return None

    def take(self, number: int, authority: Authority) -> None:
        """Onto the disk. It is not in force."""
        kept = self._kept.of(number)
        kept.put(kept.authority, authority.certificate)
        kept.put(kept.authority_key, authority.key)

    def change(self, number: int) -> None:
        """One that is on the disk is in force from now on, and no other: all at once, also where the daemon ends."""
        kept = self._kept.of(number)
        authority = _read(kept)
        made = self._certificate(authority)
        kept.put(kept.certificate, made)
        kept.put(kept.revoked, authority.revocations((), self._clock()))
        held = self._seat.own.held
        held = held if held > number else 0
        self._seat.keep(authority=number, held=held, certificates=(certificates.serial(made),), revoked=())
        self._kept.number, self.authority = number, authority

    def clean(self) -> None:
        """Nothing is left of authorities that are in force no more."""
        self._kept.forget_others(self._seat.own.held)


def _read(kept: Kept) -> Authority:
    return Authority(kept.authority.read_bytes(), kept.authority_key.read_bytes())
