"""Reads what a certificate says: whose it is, until when, and whether a key belongs to it."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509.oid import NameOID

from agent.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Certificate:
    """The part of a certificate that a person asks for."""

    common_name: str
    not_before: datetime
    not_after: datetime


def read_certificate(path: str) -> Certificate:
    """The first certificate of a PEM file. Raises `ConfigError`."""
    found = _load(path)
    names = found.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return Certificate(
        common_name=str(names[0].value) if names else "",
        not_before=found.not_valid_before_utc,
        not_after=found.not_valid_after_utc,
    )


def key_belongs(certificate_path: str, key_path: str) -> bool:
    """Whether the private key is the one of the certificate. Raises `ConfigError`."""
    try:
        key = load_pem_private_key(Path(key_path).read_bytes(), password=None)
    except OSError as error:
        raise ConfigError(
            f"{key_path}: the device's private key was expected here: {error.strerror}; "
            "`lockgate identity --new` makes one"
        ) from error
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{key_path}: a private key in PEM was expected: {error}") from error
    return key.public_key() == _load(certificate_path).public_key()


def _load(path: str) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(Path(path).read_bytes())
    except OSError as error:
        raise ConfigError(
            f"{path}: a certificate was expected here: {error.strerror}; enrol the device, or "
            "correct the path in agent.toml"
        ) from error
    except ValueError as error:
        raise ConfigError(
            f"{path}: a certificate in PEM was expected: {error}; enrol the device again"
        ) from error
