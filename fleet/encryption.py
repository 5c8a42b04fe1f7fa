"""Encrypts payloads to recipients, and opens them again for the operator, who makes deltas from them.

The format is in `agent/encryption.py`. Who can read a payload: the recipients that were named, and the
operator's own key `keys/encryption/archive.pem`, which is made when it is first needed.
"""

import hashlib
import os
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_public_key,
)

from agent.delta_index import parse_delta_index
from agent.encryption import (
    ENVELOPE_HEADER,
    ENVELOPE_MAGIC,
    INDEX,
    KEY_BYTES,
    NONCE,
    RECIPIENT,
    RECIPIENTS_MAX,
    RECORD,
    SCHEME,
    TAG_BYTES,
    ContentKey,
    envelope_info,
    load_private,
    open_envelope,
    recipient_id,
    suite,
)
from agent.errors import ConfigError, StateError
from agent.payload import (
    PayloadIndex,
    WindowEntry,
    encode_index,
    index_length,
    padded_bytes,
    parse_index,
)
from agent.release import DELTA, Encryption, Image, Payload
from fleet import files
from fleet.payload import store_blob
from fleet.workspace import Workspace

KEY_FILE_BYTES_MAX: Final = 64 * 1024
EVERY_DEVICE: Final = "enrolled"


@dataclass(frozen=True, slots=True)
class Recipients:
    """The public keys of those who can read, each once, in a stable order."""

    keys: tuple[bytes, ...]

    def envelope(self, content_key: bytes, index_sha256: str) -> bytes:
        """The content key for each of them."""
        info = envelope_info(index_sha256)
        hpke = suite()
        rows = [
            RECIPIENT.pack(
                recipient_id(key),
                hpke.encrypt(content_key, X25519PublicKey.from_public_bytes(key), info=info),
            )
            for key in self.keys
        ]
        return ENVELOPE_HEADER.pack(ENVELOPE_MAGIC, len(rows)) + b"".join(rows)


def find_recipients(workspace: Workspace, words: Iterable[str]) -> Recipients:
    """The recipients that the command line names, and the operator. Raises `ConfigError`.

    Each word is a file with a public key in PEM, the name of an enrolled device, or `enrolled` for all.
    """
    found = {archive_key(workspace).public_key().public_bytes_raw()}
    for word in words:
        found |= set(_recipients(workspace, word))
    if len(found) > RECIPIENTS_MAX:
        raise ConfigError(
            f"--encrypt-to: at most {RECIPIENTS_MAX} keys were expected, {len(found)} found; give the "
            "devices a key in common"
        )
    return Recipients(tuple(sorted(found)))


def _recipients(workspace: Workspace, word: str) -> list[bytes]:
    folder = device_keys(workspace)
    if word == EVERY_DEVICE:
        paths = sorted(folder.glob("*.pem"))
        if not paths:
            raise ConfigError(
                f"--encrypt-to {EVERY_DEVICE}: no device was enrolled with an encryption key; "
                "see `lockgate identity --new --encryption-key FILE`"
            )
        return [read_public(path) for path in paths]
    path = Path(word)
    known = folder / f"{word}.pem"
    if "/" not in word and known.is_file():
        return [read_public(known)]
    if path.is_file():
        return [read_public(path)]
    raise ConfigError(
        f"--encrypt-to: a file with a public key, an enrolled device with one or {EVERY_DEVICE!r} was "
        f"expected, {word!r} found"
    )


def device_keys(workspace: Workspace) -> Path:
    """The folder with the public key of each enrolled device that has one."""
    return workspace.authority / "encryption"


def read_public(path: Path) -> bytes:
    """The 32 bytes of the X25519 public key in a PEM file. Raises `ConfigError`."""
    try:
        with path.open("rb") as file:
            content = file.read(KEY_FILE_BYTES_MAX)
    except OSError as error:
        raise ConfigError(f"{path}: the key cannot be read: {error.strerror}") from error
    return parse_public(content, str(path))


def parse_public(content: bytes, source: str) -> bytes:
    """The 32 bytes of the X25519 public key in PEM. Raises `ConfigError`."""
    try:
        key = load_pem_public_key(content)
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, X25519PublicKey):
        raise ConfigError(
            f"{source}: an X25519 public key in PEM was expected; `lockgate identity --new` prints one, "
            "and so does `openssl pkey -pubout`"
        )
    return key.public_bytes_raw()


def archive_key(workspace: Workspace) -> X25519PrivateKey:
    """The operator's own key, made at the first call. Raises `StateError`."""
    path = workspace.keys / "encryption" / "archive.pem"
    try:
        if not path.exists():
            key = X25519PrivateKey.generate()
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            content = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
            with os.fdopen(
                os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb"
            ) as file:
                file.write(content)
            files.sync(path)
            files.sync(path.parent)
        return load_private(path.read_bytes())
    except OSError as error:
        raise StateError(f"{path}: the operator's key: {error.strerror}") from error


def encrypt_payload(
    plain: Path, payload: Payload, image: Image, recipients: Recipients, folder: Path
) -> Payload:
    """Store a payload that only the recipients can read as `folder/SHA256`, under a key of its own.

    Raises `StateError` for a full disk. A cut leaves `.part` files.
    """
    try:
        with plain.open("rb") as file, _scratch(folder) as records:
            index = _read_index(file, payload, image, None)
            key = os.urandom(KEY_BYTES)
            sealed = [
                _sealed(entry, _record(file, entry), records, AESGCM(key))
                for entry in index.entries
            ]
            head = AESGCM(key).encrypt(
                NONCE.pack(INDEX, 0),
                _encoded(replace(index, entries=tuple(sealed)), payload, TAG_BYTES),
                None,
            )
            index_sha256 = hashlib.sha256(head).hexdigest()
            envelope = recipients.envelope(key, index_sha256)
            records.write(envelope)
            records.seek(0)
            blob, length_bytes = store_blob(head, records, folder)
    except OSError as error:
        raise StateError(
            f"{folder}: the payload cannot be written: {error.strerror}{files.advice(error)}"
        ) from error
    return replace(
        payload,
        blob=blob,
        length_bytes=length_bytes,
        index_bytes=len(head),
        index_sha256=index_sha256,
        encryption=Encryption(SCHEME, len(envelope), hashlib.sha256(envelope).hexdigest()),
    )


def decrypt_payload(
    sealed: Path, payload: Payload, image: Image, key_pem: bytes, folder: Path
) -> Payload:
    """The same payload in its plain form, byte for byte as it was, as `folder/SHA256`.

    Raises `StateError` when it is not there, `DecryptionError` when it does not open.
    """
    encryption = payload.encryption
    assert encryption is not None, "only an encrypted payload is decrypted"
    try:
        with sealed.open("rb") as file, _scratch(folder) as records:
            file.seek(payload.length_bytes - encryption.envelope_bytes)
            key = open_envelope(file.read(), key_pem, payload.index_sha256)
            index = _read_index(file, payload, image, key)
            plain = [
                _opened(entry, _record(file, entry), records, key, payload.index_bytes)
                for entry in index.entries
            ]
            head = _encoded(replace(index, entries=tuple(plain)), payload, 0)
            records.seek(0)
            blob, length_bytes = store_blob(head, records, folder)
    except OSError as error:
        raise StateError(f"{sealed}: the payload cannot be opened: {error.strerror}") from error
    return replace(
        payload,
        blob=blob,
        length_bytes=length_bytes,
        index_bytes=len(head),
        index_sha256=hashlib.sha256(head).hexdigest(),
        encryption=None,
    )


def _scratch(folder: Path) -> IO[bytes]:
    return tempfile.TemporaryFile(prefix=".records-", suffix=".part", dir=folder)


def _read_index(
    file: IO[bytes], payload: Payload, image: Image, key: ContentKey | None
) -> PayloadIndex:
    file.seek(0)
    content = file.read(payload.index_bytes)
    unseal = key.open_index if key else None
    if payload.kind == DELTA:
        return parse_delta_index(
            content,
            sha256=payload.index_sha256,
            image_bytes=padded_bytes(image.length_bytes),
            payload_bytes=payload.length_bytes,
            base_bytes=payload.base_bytes,
            unseal=unseal,
        )
    return parse_index(
        content,
        sha256=payload.index_sha256,
        image_bytes=padded_bytes(image.length_bytes),
        payload_bytes=payload.length_bytes,
        unseal=unseal,
    )


def _record(file: IO[bytes], entry: WindowEntry) -> bytes:
    return os.pread(file.fileno(), entry.record_length, entry.record_offset)


def _sealed(entry: WindowEntry, record: bytes, records: IO[bytes], cipher: AESGCM) -> WindowEntry:
    if not record:
        return entry
    place = records.tell()
    return _placed(entry, cipher.encrypt(NONCE.pack(RECORD, place), record, None), records)


def _opened(
    entry: WindowEntry, record: bytes, records: IO[bytes], key: ContentKey, index_bytes: int
) -> WindowEntry:
    if not record:
        return entry
    return _placed(entry, key.open_record(record, entry.record_offset - index_bytes), records)


def _placed(entry: WindowEntry, record: bytes, records: IO[bytes]) -> WindowEntry:
    """The entry with its record written; its offset counts from the first record."""
    offset = records.tell()
    records.write(record)
    return replace(
        entry,
        record_offset=offset,
        record_length=len(record),
        record_sha256=hashlib.sha256(record).digest(),
    )


def _encoded(index: PayloadIndex, payload: Payload, overhead: int) -> bytes:
    """The index in its plain form; in that of a full payload offsets count from the payload's start."""
    if payload.kind == DELTA:
        from fleet.delta.columns import pack_index  # noqa: PLC0415  # brings numpy

        return pack_index(index)
    start = index_length(index.image_bytes, index.window_bytes) + overhead
    entries = tuple(
        replace(one, record_offset=one.record_offset + start) if one.record_length else one
        for one in index.entries
    )
    return encode_index(replace(index, entries=entries))
