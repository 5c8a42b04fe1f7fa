"""Encrypted payloads: what a recipient's private key opens, and what must be so for that. Pure.

The scheme `hpke-x25519-aes256gcm`: every payload has a content key of its own. Its index and each of its
records travel under AES-256-GCM (NIST SP 800-38D) with that key and with its place as nonce, so that no nonce
is used twice and no record can stand in for another one:

    nonce      u32 what: 0 the index, 1 a record | u64 offset of a record from the end of the index, or 0
    sealed     the ciphertext | 16s tag

Behind the last record stands the envelope: the content key for each recipient, wrapped with HPKE in base
mode (RFC 9180: DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, AES-256-GCM). All is little-endian.

    envelope   8s magic "LKGENV01" | u32 recipient_count
               | recipient_count times: 16s start of the SHA-256 of the recipient's public key
                 | 32s encapsulated key | 48s wrapped content key
    HPKE info  "lockgate payload" | the SHA-256 of the sealed index, as in the manifest

Nothing of this is imported before there is something to open.
"""

import hashlib
import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from agent.errors import DecryptionError, RecipientError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
    from cryptography.hazmat.primitives.hpke import Suite

SCHEME: Final = "hpke-x25519-aes256gcm"
KEY_BYTES: Final = 32
TAG_BYTES: Final = 16
NONCE: Final = struct.Struct("<IQ")
INDEX: Final = 0
RECORD: Final = 1
ENVELOPE_MAGIC: Final = b"LKGENV01"
ENVELOPE_HEADER: Final = struct.Struct("<8sI")
RECIPIENT: Final = struct.Struct("<16s80s")
RECIPIENTS_MAX: Final = 40_000
ENVELOPE_BYTES_MAX: Final = ENVELOPE_HEADER.size + RECIPIENTS_MAX * RECIPIENT.size
INFO: Final = b"lockgate payload"
KEPT: Final = b"lockgate kept image"


@dataclass(frozen=True, slots=True)
class ContentKey:
    """What opens one payload. Raises `DecryptionError` for all that was not sealed for its place."""

    key: bytes = field(repr=False)

    def open_index(self, sealed: bytes) -> bytes:
        """The index in its plain form."""
        return self._open(NONCE.pack(INDEX, 0), sealed, "index")

    def open_record(self, sealed: bytes, place: int) -> bytes:
        """The record that stands so many bytes behind the index."""
        return self._open(NONCE.pack(RECORD, place), sealed, f"record at {place}")

    def _open(self, nonce: bytes, sealed: bytes, what: str) -> bytes:
        from cryptography.exceptions import InvalidTag  # noqa: PLC0415  # only where it is encrypted
        from cryptography.hazmat.primitives.ciphers.aead import (  # noqa: PLC0415  # likewise
            AESGCM,
        )

        try:
            return AESGCM(self.key).decrypt(nonce, sealed, None)
        except InvalidTag:
            raise DecryptionError(
                f"encrypted payload: the {what} was expected to be sealed for its place with the "
                "payload's own key, it is not; make the payload again"
            ) from None


def suite() -> "Suite":
    """HPKE as this scheme uses it."""
    from cryptography.hazmat.primitives.hpke import (  # noqa: PLC0415  # only where it is encrypted
        AEAD,
        KDF,
        KEM,
        Suite,
    )

    return Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)


def recipient_id(public_key: bytes) -> bytes:
    """How an envelope names the holder of this X25519 public key (its 32 bytes)."""
    return hashlib.sha256(public_key).digest()[:16]


def envelope_info(index_sha256: str) -> bytes:
    """What binds a wrapped key to one payload."""
    return INFO + bytes.fromhex(index_sha256)


def open_envelope(envelope: bytes, key_pem: bytes, index_sha256: str) -> ContentKey:
    """The content key in an envelope whose SHA-256 has been checked.

    Raises `RecipientError` when it is not to the holder of this private key, `DecryptionError` when it says
    it is and does not open.
    """
    from cryptography.exceptions import InvalidTag  # noqa: PLC0415  # only where it is encrypted

    private = load_private(key_pem)
    wrapped = _wrapped_for(envelope, recipient_id(private.public_key().public_bytes_raw()))
    try:
        key = suite().decrypt(wrapped, private, info=envelope_info(index_sha256))
    except (InvalidTag, ValueError):
        key = b""
    if len(key) != KEY_BYTES:
        raise DecryptionError(
            "encrypted payload: a content key was expected in the envelope for this device, it does not "
            "open; make the payload again"
        )
    return ContentKey(key)


def _wrapped_for(envelope: bytes, wanted: bytes) -> bytes:
    if len(envelope) >= ENVELOPE_HEADER.size:
        magic, count = ENVELOPE_HEADER.unpack_from(envelope)
        rows = envelope[ENVELOPE_HEADER.size :]
        if magic == ENVELOPE_MAGIC and len(rows) == count * RECIPIENT.size:
            for recipient, wrapped in RECIPIENT.iter_unpack(rows):
                if recipient == wanted:
                    return bytes(wrapped)
            raise RecipientError(
                f"encrypted payload: it is for {count} recipients, and this device's key "
                f"{wanted.hex()[:8]} is not among them; release it with --encrypt-to this device"
            )
    raise DecryptionError(
        f"encrypted payload: an envelope was expected, {len(envelope)} other bytes found"
    )


def load_private(key_pem: bytes) -> "X25519PrivateKey":
    """The private key in a PEM file. Raises `RecipientError` when there is none."""
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415  # as above
    from cryptography.hazmat.primitives.asymmetric.x25519 import (  # noqa: PLC0415  # as above
        X25519PrivateKey,
    )
    from cryptography.hazmat.primitives.serialization import (  # noqa: PLC0415  # as above
        load_pem_private_key,
    )

    try:
        key = load_pem_private_key(key_pem, None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, X25519PrivateKey):
        raise RecipientError(
            "encryption.key in agent.toml: an X25519 private key (PKCS #8, PEM) was expected; "
            "`lockgate identity --new` makes one"
        )
    return key


def seal_kept(key_pem: bytes, sha256: str, content: bytes) -> bytes:
    """An image as it is kept on the device's own disk: only this device's key opens it.

    The key follows from the image, so that it is used once and needs no nonce that anyone must remember.
    """
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415  # as above

    return AESGCM(_kept_key(key_pem, sha256)).encrypt(bytes(12), content, None)


def open_kept(key_pem: bytes, sha256: str, content: bytes) -> bytes:
    """The image with this SHA-256, sealed or kept as it is by a device that had no key yet.

    What is neither comes back as it is: its SHA-256 says the rest.
    """
    from cryptography.exceptions import InvalidTag  # noqa: PLC0415  # as above
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415  # as above

    if len(content) < TAG_BYTES or hashlib.sha256(content).hexdigest() == sha256:
        return content
    try:
        return AESGCM(_kept_key(key_pem, sha256)).decrypt(bytes(12), content, None)
    except InvalidTag:
        return content


def _kept_key(key_pem: bytes, sha256: str) -> bytes:
    from cryptography.hazmat.primitives.hashes import SHA256  # noqa: PLC0415  # as above
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF  # noqa: PLC0415  # as above

    info = KEPT + bytes.fromhex(sha256)
    derived = HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=info)
    return derived.derive(load_private(key_pem).private_bytes_raw())
