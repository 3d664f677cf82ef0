"""What lets a host join a mesh: `lsm1-` and 68 letters and digits.

It says which mesh that is, by what whoever lets in is recognised before anything is said, and holds a secret, which is
never said: both sides prove that they know it.
"""

from __future__ import annotations

import base64
import binascii
import dataclasses

from linkspan.errors import InvalidArgument

PREFIX = "lsm1-"
_ID, _AUTHORITY, _SECRET, _SUM = 8, 16, 16, 2  # bytes
_LENGTH = _ID + _AUTHORITY + _SECRET + _SUM


@dataclasses.dataclass(frozen=True, slots=True)
class Token:
    """`authority` begins the SHA-256 of the public key of the mesh's authority."""

    mesh_id: str  # hexadecimal
    authority: bytes
    secret: bytes = dataclasses.field(repr=False)

    def text(self) -> str:
        body = bytes.fromhex(self.mesh_id) + self.authority + self.secret
        return PREFIX + base64.b32encode(body + _sum(body)).decode().rstrip("=").lower()


def parse_token(text: str) -> Token:
    """Raises InvalidArgument, without the text: it may be a secret all the same."""
    letters = text.strip()
    if not letters.startswith(PREFIX):
        raise InvalidArgument(f"invalid --token: it begins with {PREFIX}; `linkspan mesh token` shows one on any host")
    letters = letters.removeprefix(PREFIX).upper()
    try:
        raw = base64.b32decode(letters + "=" * (-len(letters) % 8))
    except ValueError:  # binascii.Error is one
        raw = b""
    body = raw[:-_SUM]
    if len(raw) != _LENGTH or _sum(body) != raw[-_SUM:]:
        raise InvalidArgument("invalid --token: it is not whole, or something in it was changed: copy it again")
    return Token(body[:_ID].hex(), body[_ID : _ID + _AUTHORITY], body[_ID + _AUTHORITY :])


def _sum(body: bytes) -> bytes:
    return binascii.crc_hqx(body, 0xFFFF).to_bytes(_SUM, "big")
