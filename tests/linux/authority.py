"""A certificate authority of the tests' own: made anew, valid for an hour, files in a folder."""

import ipaddress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID


@dataclass(frozen=True, slots=True)
class Credential:
    """Where a certificate and its key lie."""

    certificate: str
    key: str


class Authority:
    """Signs certificates; `path` is its own."""

    def __init__(self, folder: Path, name: str = "test authority") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self._key = ec.generate_private_key(ec.SECP256R1())
        certificate = (
            builder(self._name, self._name, self._key, datetime.now(UTC))
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.path = str(folder / "authority.pem")
        Path(self.path).write_bytes(certificate.public_bytes(Encoding.PEM))

    def issue(self, name: str, *, start: datetime | None = None) -> Credential:
        """A certificate for a device, or for a server at this name or address; valid for an hour."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        certificate = (
            builder(subject, self._name, key, start or datetime.now(UTC))
            .add_extension(x509.SubjectAlternativeName([general_name(name)]), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        place = Credential(str(self._folder / f"{name}.pem"), str(self._folder / f"{name}.key"))
        Path(place.certificate).write_bytes(certificate.public_bytes(Encoding.PEM))
        Path(place.key).write_bytes(
            key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        )
        return place


def builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, start: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start - timedelta(minutes=5))
        .not_valid_after(start + timedelta(hours=1))
    )


def general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
