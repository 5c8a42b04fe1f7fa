"""HPKE's base mode as RFC 9180 says it, apart from the library that the product uses, to check both."""

import hashlib
import hmac
from typing import Final

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEM: Final = b"KEM" + (0x0020).to_bytes(2, "big")
AES_128: Final = 1
AES_256: Final = 2
KEY_BYTES: Final = {AES_128: 16, AES_256: 32}


def _extract(suite: bytes, salt: bytes, label: bytes, content: bytes) -> bytes:
    return hmac.digest(salt or bytes(32), b"HPKE-v1" + suite + label + content, hashlib.sha256)


def _expand(suite: bytes, key: bytes, label: bytes, info: bytes, length: int) -> bytes:
    wanted = length.to_bytes(2, "big") + b"HPKE-v1" + suite + label + info
    block = output = b""
    for number in range(1, -(-length // 32) + 1):
        block = hmac.digest(key, block + wanted + bytes([number]), hashlib.sha256)
        output += block
    return output[:length]


def open_base(
    private: X25519PrivateKey, enc: bytes, ciphertext: bytes, info: bytes, *, aad: bytes, aead: int
) -> bytes:
    """The first message to the holder of this key (sections 4.1, 5.1 and 6.1)."""
    shared = private.exchange(X25519PublicKey.from_public_bytes(enc))
    context = enc + private.public_key().public_bytes_raw()
    secret = _expand(KEM, _extract(KEM, b"", b"eae_prk", shared), b"shared_secret", context, 32)
    suite = b"HPKE" + b"".join(one.to_bytes(2, "big") for one in (0x0020, 1, aead))
    schedule = (
        b"\0" + _extract(suite, b"", b"psk_id_hash", b"") + _extract(suite, b"", b"info_hash", info)
    )
    secret = _extract(suite, secret, b"secret", b"")
    key = _expand(suite, secret, b"key", schedule, KEY_BYTES[aead])
    nonce = _expand(suite, secret, b"base_nonce", schedule, 12)
    return AESGCM(key).decrypt(nonce, ciphertext, aad)
