"""The mesh's authority, and the certificates that hosts show each other.

Every host has the authority's key: each may let others in, and makes its own certificates anew. So a certificate says
that its host is, or was, one of the mesh; that it is not any more others have to know (`revocations`).

A certificate is valid from an hour before it was made, for hosts whose clocks differ.
"""

from __future__ import annotations

import base64
import datetime
import hashlib
import ipaddress
import secrets
from collections.abc import Iterable, Sequence

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, x25519
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from linkspan.errors import Conflict

LIFE = 90 * 86400.0  # seconds, of a host's certificate
_SLACK = datetime.timedelta(hours=1)
_AUTHORITY_LIFE = datetime.timedelta(days=365 * 30)
_USES = (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH)  # etcd's gateway is a client of itself


class Authority:
    def __init__(self, certificate: bytes, key: bytes) -> None:
        """Both in PEM. Raises Conflict where they are something else, or do not belong together."""
        try:
            self._certificate = x509.load_pem_x509_certificate(certificate)
            loaded = serialization.load_pem_private_key(key, None)
        except ValueError as error:
            raise Conflict(f"the mesh's authority cannot be read: {error}") from None
        if not isinstance(loaded, ec.EllipticCurvePrivateKey) or loaded.public_key() != self._certificate.public_key():
            raise Conflict("the mesh's authority and its key do not belong together")
        self._key = loaded
        self.certificate, self.key = certificate, key

    @classmethod
    def make(cls, mesh_id: str, now: float) -> Authority:
        key = ec.generate_private_key(ec.SECP256R1())
        name, moment = _name(f"linkspan mesh {mesh_id}"), _time(now)
        builder = (
            x509.CertificateBuilder(name, name, key.public_key(), secrets.randbits(120))
            .not_valid_before(moment - _SLACK)
            .not_valid_after(moment + _AUTHORITY_LIFE)
            .add_extension(x509.BasicConstraints(True, 0), critical=True)
            .add_extension(_key_usage(signs=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        )
        return cls(_pem(builder.sign(key, hashes.SHA256())), _pem_key(key))

    @property
    def fingerprint(self) -> bytes:
        """SHA-256 of its public key."""
        return fingerprint(self._certificate)

    def host(self, key: bytes, host_id: str, addresses: Sequence[str], now: float, life: float = LIFE) -> bytes:
        """A certificate for a host's key, valid at its addresses; with the authority's own behind it."""
        public = _private(key).public_key()
        issuer = x509.SubjectKeyIdentifier.from_public_key(self._key.public_key())
        builder = (
            x509.CertificateBuilder(self._certificate.subject, _name(host_id), public, secrets.randbits(120))
            .not_valid_before(_time(now) - _SLACK)
            .not_valid_after(_time(now + life))
            .add_extension(x509.BasicConstraints(False, None), critical=True)
            .add_extension(_key_usage(signs=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage(_USES), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(issuer), critical=False)
            .add_extension(
                x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(a)) for a in addresses]),
                critical=False,
            )
        )
        return _pem(builder.sign(self._key, hashes.SHA256()))

    def revocations(self, serials: Iterable[str], now: float) -> bytes:
        """A list of certificates that are not to be trusted, in DER, as etcd reads it."""
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self._certificate.subject)
            .last_update(_time(now) - _SLACK)
            .next_update(_time(now) + _AUTHORITY_LIFE)
        )
        for serial in sorted(set(serials)):
            entry = x509.RevokedCertificateBuilder(int(serial, 16), _time(now)).build()
            builder = builder.add_revoked_certificate(entry)
        return builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


def new_key() -> bytes:
    """A host's private key, in PEM."""
    return _pem_key(ec.generate_private_key(ec.SECP256R1()))


def new_wireguard_key() -> str:
    raw = x25519.X25519PrivateKey.generate().private_bytes_raw()
    return base64.b64encode(raw).decode()


def wireguard_public_key(private: str) -> str:
    key = x25519.X25519PrivateKey.from_private_bytes(base64.b64decode(private))
    return base64.b64encode(key.public_key().public_bytes_raw()).decode()


def shared_secret(private: str, public: str) -> bytes:
    """What two hosts know, and nobody else: of WireGuard's key of the one, and what is public of the other's. Raises
    Conflict where it is no key."""
    try:
        key = x25519.X25519PrivateKey.from_private_bytes(base64.b64decode(private))
        other = x25519.X25519PublicKey.from_public_bytes(base64.b64decode(public))
        return hashlib.sha256(b"linkspan mesh hosts\0" + key.exchange(other)).digest()
    except ValueError:
        raise Conflict("the host's key is none") from None


def validity(certificate: bytes) -> tuple[float, float]:
    """From when until when a certificate in PEM is valid."""
    found = x509.load_pem_x509_certificate(certificate)
    return found.not_valid_before_utc.timestamp(), found.not_valid_after_utc.timestamp()


def serial(certificate: bytes) -> str:
    """Hexadecimal."""
    return f"{x509.load_pem_x509_certificate(certificate).serial_number:x}"


def is_of(shown: bytes, authority: bytes) -> bool:
    """Whether a certificate (DER) was made by an authority (PEM)."""
    try:
        x509.load_der_x509_certificate(shown).verify_directly_issued_by(x509.load_pem_x509_certificate(authority))
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def fingerprint_of(authority: bytes) -> bytes:
    """See Authority.fingerprint. Raises Conflict where this is no certificate in PEM."""
    try:
        return fingerprint(x509.load_pem_x509_certificate(authority))
    except ValueError:
        raise Conflict("what it shows is no certificate") from None


def fingerprint(certificate: x509.Certificate) -> bytes:
    der, info = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    return hashlib.sha256(certificate.public_key().public_bytes(der, info)).digest()


def _private(pem: bytes) -> ec.EllipticCurvePrivateKey:
    key = serialization.load_pem_private_key(pem, None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return key


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _pem_key(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _time(seconds: float) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC)


def _key_usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs,
        crl_sign=signs,
        encipher_only=False,
        decipher_only=False,
    )
