"""Decides whether bytes are an MCUboot image that a component may be sent. Pure.

The bootloader checks as well, but after its slot has been overwritten; and imgtool, asked without a
key, calls an unsigned image valid. So everything is judged here, before the first byte is sent.

Layout (MCUboot `image.h`), little-endian:

    header 32 bytes: magic u32, load address u32, header size u16, protected TLV size u16,
                     image size u32, flags u32, version (u8, u8, u16, u32), padding u32
    the rest of the header, zeros; the program
    protected TLVs:  magic 0x6908 u16, total length u16, then type u16, length u16, content
    TLVs:            magic 0x6907, the same

Hash and signature cover everything before the last area.
"""

import base64
import binascii
import hashlib
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NoReturn, assert_never

from agent.errors import ConfigError, FlashImageError, RollbackError, TrustError

HEADER: Final = struct.Struct("<IIHHIIBBHII")
AREA: Final = struct.Struct("<HH")
ENTRY: Final = struct.Struct("<HH")
MAGIC: Final = 0x96F3B83D
AREA_MAGIC: Final = 0x6907
PROTECTED_MAGIC: Final = 0x6908
LENGTH_MAX_BYTES: Final = 16 * 1024 * 1024

KEY_HASH: Final = 0x01
IMAGE_HASH: Final = 0x10
ECDSA_SIGNATURE: Final = 0x22
ED25519_SIGNATURE: Final = 0x24
SECURITY_COUNTER: Final = 0x50
SHA256_BYTES: Final = 32

RAM_LOAD: Final = 0x20
ROM_FIXED: Final = 0x100
PLAIN_FLAGS: Final = RAM_LOAD | ROM_FIXED
"""What says only where a program runs. Encrypted, compressed or bootless images are not taken."""

REMEDY: Final = "make and sign the image again with imgtool"

PEM_FIRST: Final = b"-----BEGIN PUBLIC KEY-----"
PEM_LAST: Final = b"-----END PUBLIC KEY-----"


class KeyKind(StrEnum):
    """The signatures that are taken."""

    ED25519 = "ed25519"
    P256 = "ecdsa-p256"


KEY_FORMS: Final = {
    KeyKind.ED25519: (bytes.fromhex("302a300506032b6570032100"), 32),
    KeyKind.P256: (bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d03010703420004"), 64),
}
"""How a SubjectPublicKeyInfo of each kind begins, and the length of the rest (RFC 8410, RFC 5480)."""


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A key as its SubjectPublicKeyInfo; what computes with it is loaded when an image is checked."""

    kind: KeyKind
    content: bytes

    @property
    def hash(self) -> bytes:
        """What an image names it by."""
        return hashlib.sha256(self.content).digest()


@dataclass(frozen=True, slots=True)
class McubootImage:
    """What a checked image says of itself; `hash` is what the chip lists it under.

    `security_counter` is None where the image has none.
    """

    version: str
    hash: bytes
    security_counter: int | None


def load_public_key(content: bytes, source: str) -> PublicKey:
    """The Ed25519 or ECDSA P-256 key in a PEM file. Raises `ConfigError`; `source` names the file."""
    lines = content.split()
    first, last = len(PEM_FIRST.split()), len(PEM_LAST.split())
    if b" ".join(lines[:first]) != PEM_FIRST or b" ".join(lines[-last:]) != PEM_LAST:
        raise ConfigError(
            f"{source}: a public key in PEM was expected: its first or last line is missing"
        )
    try:
        key = base64.b64decode(b"".join(lines[first:-last]), validate=True)
    except binascii.Error as error:
        raise ConfigError(f"{source}: a public key in PEM was expected: {error}") from None
    for kind, (start, rest_bytes) in KEY_FORMS.items():
        if key.startswith(start) and len(key) == len(start) + rest_bytes:
            return PublicKey(kind, key)
    raise ConfigError(f"{source}: an Ed25519 or ECDSA P-256 key was expected, another kind found")


def check_image(
    content: bytes, keys: tuple[PublicKey, ...], *, security_counter_min: int = 0
) -> McubootImage:
    """What the image is, if one of these keys signed it.

    Raises `FlashImageError` for what is no plain image, `TrustError` for one that none of the keys
    signed, and `RollbackError` when it is signed but its security counter is lower than
    `security_counter_min`; an image without a counter counts as 0.
    """
    if not keys:
        raise ConfigError("at least one public key was expected to check an MCUboot image with")
    image, entries = _whole(content)
    _check_signature(entries, image.hash, keys)
    counter = image.security_counter or 0
    if counter < security_counter_min:
        raise RollbackError(
            f"MCUboot image: a security counter of at least {security_counter_min} was expected, "
            f"{counter} found; sign a newer image, the chip would not start this one"
        )
    return image


def check_whole(content: bytes) -> McubootImage:
    """What an image says of itself, whoever signed it: its form and its SHA-256 are right.

    Raises `FlashImageError` and `TrustError`.
    """
    return _whole(content)[0]


def _whole(content: bytes) -> tuple[McubootImage, Mapping[int, bytes]]:
    if not HEADER.size <= len(content) <= LENGTH_MAX_BYTES:
        _refuse(f"{HEADER.size} to {LENGTH_MAX_BYTES} bytes were expected, {len(content)} found")
    fields = HEADER.unpack_from(content)
    magic, _, header_bytes, protected_bytes, program_bytes, flags = fields[:6]
    if magic != MAGIC:
        _refuse(f"the magic 0x{MAGIC:08x} was expected, 0x{magic:08x} found")
    if header_bytes < HEADER.size or program_bytes == 0 or flags & ~PLAIN_FLAGS:
        _refuse(f"a plain program was expected, header {header_bytes}, flags 0x{flags:x} found")
    protected_at = header_bytes + program_bytes
    signed_bytes = protected_at + protected_bytes
    protected: Mapping[int, bytes] = {}
    if protected_bytes:
        protected = _area(content, protected_at, PROTECTED_MAGIC, signed_bytes)
    entries = _area(content, signed_bytes, AREA_MAGIC, len(content))
    digest = hashlib.sha256(content[:signed_bytes]).digest()
    if entries.get(IMAGE_HASH) != digest:
        _distrust("its SHA-256 is not that of its content")
    counter = _security_counter(protected, entries)
    major, minor, revision, build = fields[6:10]
    image = McubootImage(f"{major}.{minor}.{revision}+{build}", digest, counter)
    return image, entries


def _refuse(found: str) -> NoReturn:
    raise FlashImageError(f"MCUboot image: {found}; nothing was sent, {REMEDY}")


def _distrust(found: str) -> NoReturn:
    raise TrustError(f"MCUboot image: {found}; nothing was sent, {REMEDY}")


def _area(content: bytes, start: int, magic: int, end: int) -> Mapping[int, bytes]:
    """The entries of one TLV area, which must fill exactly the bytes from start to end."""
    if start + AREA.size > len(content):
        _refuse("it ends before its TLVs")
    found_magic, length_bytes = AREA.unpack_from(content, start)
    if found_magic != magic or start + length_bytes != end or end > len(content):
        _refuse(f"TLVs 0x{magic:x} from byte {start} to exactly byte {end} were expected")
    entries: dict[int, bytes] = {}
    position = start + AREA.size
    while position < end:
        if position + ENTRY.size > end:
            _refuse("a TLV is torn")
        kind, size_bytes = ENTRY.unpack_from(content, position)
        position += ENTRY.size
        if position + size_bytes > end or kind in entries:
            _refuse(f"TLV 0x{kind:x} reaches past its area, or stands there twice")
        entries[kind] = content[position : position + size_bytes]
        position += size_bytes
    return entries


def _check_signature(
    entries: Mapping[int, bytes], digest: bytes, keys: tuple[PublicKey, ...]
) -> None:
    """One signature, by the key that the image names, which must be one of ours.

    The key's hash is outside of what is signed; it only chooses the key.
    """
    signatures = [kind for kind in entries if kind in {ECDSA_SIGNATURE, ED25519_SIGNATURE}]
    if len(signatures) != 1 or set(entries) != {IMAGE_HASH, KEY_HASH, signatures[0]}:
        _distrust("exactly a hash, a key's hash and one signature were expected in the last TLVs")
    key = {key.hash: key for key in keys}.get(entries[KEY_HASH])
    if key is None:
        _distrust(f"it names key {entries[KEY_HASH].hex()[:16]}, which is none of this component's")
    wanted = ED25519_SIGNATURE if key.kind is KeyKind.ED25519 else ECDSA_SIGNATURE
    if not _is_signed(key, entries.get(wanted, b""), digest):
        _distrust("its signature is not by the key that it names")


def _is_signed(key: PublicKey, signature: bytes, digest: bytes) -> bool:
    """Whether a key made a signature; bytes that are no key of their kind made none."""
    # 14 ms and 5 MiB, which a device that has nothing to flash goes without.
    from cryptography.exceptions import InvalidSignature  # noqa: PLC0415  # heavy
    from cryptography.hazmat.primitives.asymmetric.ec import (  # noqa: PLC0415  # heavy
        ECDSA,
        SECP256R1,
        EllipticCurvePublicKey,
    )
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey  # noqa: PLC0415  # heavy
    from cryptography.hazmat.primitives.asymmetric.utils import Prehashed  # noqa: PLC0415  # heavy
    from cryptography.hazmat.primitives.hashes import SHA256  # noqa: PLC0415  # heavy

    start, _ = KEY_FORMS[key.kind]
    rest = key.content[len(start) :]
    try:
        match key.kind:
            case KeyKind.ED25519:
                Ed25519PublicKey.from_public_bytes(rest).verify(signature, digest)
            case KeyKind.P256:
                point = EllipticCurvePublicKey.from_encoded_point(SECP256R1(), b"\x04" + rest)
                point.verify(signature, digest, ECDSA(Prehashed(SHA256())))
            case never:
                assert_never(never)
    except (InvalidSignature, ValueError):
        return False
    return True


def _security_counter(protected: Mapping[int, bytes], entries: Mapping[int, bytes]) -> int | None:
    assert SECURITY_COUNTER not in entries  # only three kinds were let through
    counter = protected.get(SECURITY_COUNTER)
    if counter is None:
        return None
    if len(counter) != 4:
        _refuse(f"a security counter of 4 bytes was expected, {len(counter)} found")
    return int.from_bytes(counter, "little")
