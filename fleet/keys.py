"""Private keys: PKCS#8 files in a folder for each role, and how to find those that may sign.

    keys/ROLE/LABEL.pem    mode 0600; LABEL is the scheme and the start of the TUF key id

Folders of several roles may lie on different machines: every signing command takes `--keys DIR`, and
finds `DIR/ROLE/*.pem` and `DIR/*.pem`. TUF key ids follow from the public key alone, so a file may
carry any name.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final, assert_never

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)
from securesystemslib.signer import CryptoSigner, Key, SSlibKey

from agent.errors import ConfigError, StateError

KEY_BYTES_MAX: Final = 64 * 1024
LABEL_DIGITS: Final = 8


class KeyKind(StrEnum):
    """The two kinds of keys that are made here; a hybrid role needs signatures of both."""

    ED25519 = "ed25519"
    ML_DSA_65 = "ml-dsa-65"


def label(key: Key) -> str:
    """What people call a key: its scheme and the first digits of its id."""
    return f"{key.scheme.split('/')[0]}-{key.keyid[:LABEL_DIGITS]}"


def labels(keys: Iterable[Key]) -> str:
    """The keys in one line, in a stable order."""
    return ", ".join(sorted(label(key) for key in keys))


def is_post_quantum(key: Key) -> bool:
    """Whether a quantum computer is of no help against this key."""
    return key.keytype == "ml-dsa"


def generate(kind: KeyKind) -> CryptoSigner:
    """A new private key."""
    match kind:
        case KeyKind.ED25519:
            return CryptoSigner.generate_ed25519()
        case KeyKind.ML_DSA_65:
            return CryptoSigner.generate_mldsa()
        case _:
            assert_never(kind)


def save(folder: Path, signer: CryptoSigner) -> Path:
    """Write a private key that only its owner may read. Raises `StateError`, and never overwrites."""
    path = folder / f"{label(signer.public_key)}.pem"
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(signer.private_bytes)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise StateError(f"{path}: the key cannot be written: {error.strerror}") from error
    return path


def public_pem(signer: CryptoSigner) -> bytes:
    """The public half, for whoever adds the key to a role on another machine."""
    private = load_pem_private_key(signer.private_bytes, None)
    return private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def load_private(path: Path) -> CryptoSigner:
    """The private key in a PKCS#8 file. Raises `ConfigError`."""
    content = _read(path)
    try:
        private: PrivateKeyTypes = load_pem_private_key(content, None)
        return CryptoSigner(private)
    except TypeError as error:  # what the library says to a key that needs a password
        raise ConfigError(
            f"{path}: a PKCS#8 key without a password was expected; decrypt it to a file in memory "
            "and name that folder with --keys"
        ) from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ConfigError(
            f"{path}: a private key in PKCS#8 PEM (Ed25519, ECDSA, RSA or ML-DSA) was expected"
        ) from error


def load_public(path: Path) -> SSlibKey:
    """The public key in a PEM file. Raises `ConfigError`."""
    content = _read(path)
    try:
        return SSlibKey.from_crypto(load_pem_public_key(content))
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ConfigError(
            f"{path}: a public key in PEM was expected; `lockgate-fleet key make` writes one beside "
            "the private key"
        ) from error


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(KEY_BYTES_MAX + 1)
    except OSError as error:
        raise ConfigError(f"{path}: the key cannot be read: {error.strerror}") from error
    if len(content) > KEY_BYTES_MAX:
        raise ConfigError(f"{path}: a key of at most {KEY_BYTES_MAX} bytes was expected")
    return content


@dataclass(frozen=True, slots=True)
class KeyFolders:
    """Where to look for private keys, in this order."""

    folders: tuple[Path, ...]

    def __str__(self) -> str:
        return ", ".join(str(folder) for folder in self.folders)

    def check(self) -> None:
        """Raise `ConfigError` for a folder that is not there: it was mistyped, or is not mounted."""
        for folder in self.folders:
            if not folder.is_dir():
                raise ConfigError(
                    f"--keys: a folder with private keys was expected, {folder} is none"
                )

    def signers(self, role: str) -> dict[str, CryptoSigner]:
        """The private keys for a role by TUF key id; which of them may sign, metadata says."""
        found: dict[str, CryptoSigner] = {}
        for folder in self.folders:
            for path in sorted([*(folder / role).glob("*.pem"), *folder.glob("*.pem")]):
                signer = load_private(path)
                found.setdefault(signer.public_key.keyid, signer)
        return found
