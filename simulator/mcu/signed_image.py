"""MCUboot images for simulated chips, signed by a key that everyone can make and nobody should trust.

It shares no code with what checks them. Layout: MCUboot `image.h`; the last TLVs are the SHA-256 of all
before them, the key's SHA-256, and an Ed25519 signature of that first hash.
"""

import hashlib
import struct
from base64 import b64encode
from functools import cache
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from simulator.mcu.mcuboot import IMAGE_MAGIC, SHA256_TLV, TLV_MAGIC

HEADER: Final = struct.Struct("<IIHHIIBBHII")
KEY_HASH_TLV: Final = 0x01
ED25519_TLV: Final = 0x24


@cache
def example_key() -> Ed25519PrivateKey:
    """The key whose public half the example profile names."""
    return Ed25519PrivateKey.from_private_bytes(hashlib.sha256(b"lockgate simulator").digest())


def public_line() -> str:
    """The public half as a board profile has it."""
    return b64encode(_public()).decode()


def signed_image(program: bytes, minor: int) -> bytes:
    """The image of a program as version 1.`minor`.0."""
    header = HEADER.pack(IMAGE_MAGIC, 0, HEADER.size, 0, len(program), 0, 1, minor, 0, 0, 0)
    content = header + program
    digest = hashlib.sha256(content).digest()
    entries = _entry(SHA256_TLV, digest)
    entries += _entry(KEY_HASH_TLV, hashlib.sha256(_public()).digest())
    entries += _entry(ED25519_TLV, example_key().sign(digest))
    return content + struct.pack("<HH", TLV_MAGIC, 4 + len(entries)) + entries


def _public() -> bytes:
    return example_key().public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _entry(kind: int, content: bytes) -> bytes:
    return struct.pack("<HH", kind, len(content)) + content
