"""The device's own keys, made on the device and never leaving it, and the request to certify one."""

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, x25519
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID

from agent.errors import ConfigError

OwnKey = ec.EllipticCurvePrivateKey | x25519.X25519PrivateKey
COMMON_NAME_LENGTH_MAX: Final = 64  # RFC 5280, appendix A.1: ub-common-name-length


def create_encryption_key(key_path: str) -> bytes:
    """The public half (PEM) of the X25519 key to which payloads may be encrypted.

    Like the other key it is made at the first call and never overwritten. Raises `ConfigError`.
    """
    key = _kept_key(Path(key_path), x25519.X25519PrivateKey.generate, "the encryption key")
    if not isinstance(key, x25519.X25519PrivateKey):
        raise _another_kind(key_path, "an X25519")
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def create_identity(key_path: str, device_id: str) -> bytes:
    """A certificate signing request (PEM) for this device, with its id as common name.

    The EC P-256 key is made at the first call, for its owner alone, and never overwritten: a later
    call asks again for the same key. A cut leaves a whole key or none. Raises `ConfigError`.
    """
    if not 0 < len(device_id) <= COMMON_NAME_LENGTH_MAX:
        raise ConfigError(
            f"a device id of at most {COMMON_NAME_LENGTH_MAX} letters was expected, because it "
            f"stands in the device's certificate; {device_id!r} has {len(device_id)}"
        )
    key = _kept_key(
        Path(key_path), lambda: ec.generate_private_key(ec.SECP256R1()), "the device's key"
    )
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise _another_kind(key_path, "an EC")
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, device_id)])
    request = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256())
    return request.public_bytes(Encoding.PEM)


def _kept_key(path: Path, make: Callable[[], OwnKey], what: str) -> PrivateKeyTypes:
    """The key that is kept there, of whatever kind; one is made where none is."""
    try:
        if not path.exists():
            _store_new_key(path, make())
        return load_pem_private_key(path.read_bytes(), password=None)
    except OSError as error:
        raise ConfigError(
            f"cannot keep {what} in {path}: {error.strerror}; lockgate must own its folder"
        ) from error
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{path}: a private key in PEM was expected: {error}") from error


def _another_kind(path: str, wanted: str) -> ConfigError:
    return ConfigError(
        f"{path}: {wanted} private key was expected, another kind found; move it away"
    )


def _store_new_key(path: Path, key: OwnKey) -> None:
    content = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    unfinished = path.with_name(path.name + ".new")
    unfinished.unlink(missing_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(unfinished, flags, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    # A link, not a rename: it fails when a key has come to stand there meanwhile, and that one stays.
    with suppress(FileExistsError):
        path.hardlink_to(unfinished)
    unfinished.unlink()
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
